"""Backbone weights from pretrained image classifiers, from which the training of a Mask2Former starts."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from typing import Any, NamedTuple, cast

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.convert import detectron2, huggingface, torchvision
from lucid_mlx.convert.families import CheckpointFamily
from lucid_mlx.convert.infer import infer_backbone
from lucid_mlx.convert.locate import find_network, locate_network
from lucid_mlx.convert.lucid import reorder_relative_position_bias
from lucid_mlx.convert.rules import Rule, rename, to_mlx_layout
from lucid_mlx.convert.source import SourceCheckpoint, read_source
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones import build_backbone, parse_backbone_config
from lucid_mlx.preprocessing.image_config import ImageConfig
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.text import shown

# Of Hugging Face's configurations.
UNTOLD_BY_SHAPES = ("downsample_in_bottleneck", "layer_norm_eps")
NORMALIZATION = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")

_IN_MASK2FORMER = "model.pixel_level_module.encoder."
_BLOCK = "layers.{i}.blocks.{j}."
_UNIT = "layer{i}.{j}."
_OUR_UNIT = "backbone.stages.{i-1}.{j}."

_HEAD = "the classifier's head, which a backbone does not use"
_NORM = "the classifier's norm; the norms of a backbone's four feature maps are others"


def _replace_prefix(rules: Iterable[Rule], old: str, new: str) -> list[Rule]:
    """Return the rules whose sources start with `old`, which is replaced by `new`."""
    return [replace(rule, source=new + rule.source.removeprefix(old)) for rule in rules if rule.source.startswith(old)]


TORCHVISION_RESNET = [*torchvision.resnet(""), Rule("fc.{wb}", None, _HEAD)]

HUGGINGFACE_RESNET = [
    *_replace_prefix(huggingface.RESNET, _IN_MASK2FORMER, "resnet."),
    *_replace_prefix(huggingface.RESNET, _IN_MASK2FORMER, ""),  # of a ResNetModel or ResNetBackbone
    Rule("classifier.1.{wb}", None, _HEAD),
]

# torchvision's keys, except for the stem and for the convolutions of a bottleneck.
LUCID2_RESNET = [
    Rule("stem.0.weight", "backbone.stem.0.conv.weight"),
    Rule("stem.1.{bn}", "backbone.stem.0.norm.{bn}"),
    *(rule for rule in TORCHVISION_RESNET if not rule.source.startswith(("conv1", "bn1"))),
    Rule(_UNIT + "conv{k}.conv.weight", _OUR_UNIT + "convs.{k-1}.conv.weight", "a bottleneck's first two convolutions"),
    Rule(_UNIT + "conv{k}.bn.{bn}", _OUR_UNIT + "convs.{k-1}.norm.{bn}", "a bottleneck's first two convolutions"),
    Rule(
        _UNIT + "conv3.0.weight",
        _OUR_UNIT + "convs.2.conv.weight",
        "a bottleneck's last convolution, without activation",
    ),
    Rule(
        _UNIT + "conv3.1.{bn}", _OUR_UNIT + "convs.2.norm.{bn}", "a bottleneck's last convolution, without activation"
    ),
]

HUGGINGFACE_SWIN = [
    *_replace_prefix(huggingface.SWIN, _IN_MASK2FORMER + "embeddings.", "swin.embeddings."),
    *_replace_prefix(huggingface.SWIN, _IN_MASK2FORMER + "encoder.", "swin.encoder."),
    *_replace_prefix(huggingface.SWIN_IN_MEMORY, _IN_MASK2FORMER + "swin.", "swin."),
    Rule("swin.layernorm.{wb}", None, _NORM),
    *_replace_prefix(huggingface.SWIN, _IN_MASK2FORMER, ""),  # of a SwinModel or SwinBackbone
    *_replace_prefix(huggingface.SWIN_IN_MEMORY, _IN_MASK2FORMER + "swin.", ""),
    Rule("layernorm.{wb}", None, _NORM),
    Rule("classifier.{wb}", None, _HEAD),
]

DETECTRON2_RESNET = [
    *_replace_prefix(detectron2.RESNET, "backbone.", ""),
    Rule("stem.fc.{wb}", None, _HEAD),
]

_SWIN = [
    *_replace_prefix(detectron2.SWIN, "backbone.patch_embed.", "patch_embed."),
    *_replace_prefix(detectron2.SWIN, "backbone." + _BLOCK, _BLOCK),
    *_replace_prefix(detectron2.SWIN, "backbone.norm", "norm"),  # of the four maps, in a backbone that was trained on
    Rule(_BLOCK + "attn_mask", None, "follows from the size of the image"),
    Rule("norm.{wb}", None, _NORM),
]


def _patch_merging(first: int, reason: str) -> list[Rule]:
    """Return the rules of the three patch mergings, the first of which is `layers.{first}.downsample` there."""
    rules = []
    for stage in range(3):
        theirs, ours = f"layers.{stage + first}.downsample.", f"backbone.stages.{stage}.downsample."
        rules.append(Rule(theirs + "norm.{wb}", ours + "norm.{wb}", reason))
        rules.append(Rule(theirs + "reduction.weight", ours + "reduction.weight", reason))
    return rules


ORIGINAL_SWIN = [
    *_SWIN,
    *_patch_merging(0, "patch merging is the end of a stage"),
    Rule(_BLOCK + "attn.relative_pos_index", None, "read by reorder_relative_position_bias"),
    Rule("head.{wb}", None, _HEAD),
]

TIMM_SWIN = [
    *_SWIN,
    *_patch_merging(1, "patch merging is the start of the next stage there"),
    Rule("head.fc.{wb}", None, _HEAD),
]

_NUMBERED = "blocks and patch mergings alternate in one list there"


def _torchvision_swin() -> list[Rule]:
    rules = [
        Rule("features.0.0.{wb}", "backbone.patch_embedding.projection.{wb}"),
        Rule("features.0.2.{wb}", "backbone.patch_embedding.norm.{wb}"),
        Rule("norm.{wb}", None, _NORM),
        Rule("head.{wb}", None, _HEAD),
    ]
    for stage in range(4):
        theirs, ours = f"features.{2 * stage + 1}.{{j}}.", f"backbone.stages.{stage}.blocks.{{j}}."
        merging = f"features.{2 * stage + 2}."
        rules += [
            Rule(theirs + "norm{n}.{wb}", ours + "norm{n}.{wb}", _NUMBERED),
            Rule(
                theirs + "attn.relative_position_bias_table", ours + "attention.relative_position_bias_table", _NUMBERED
            ),
            Rule(theirs + "attn.relative_position_index", None, "follows from the window size"),
            Rule(theirs + "attn.qkv.{wb}", ours + "attention.qkv.{wb}", _NUMBERED),
            Rule(theirs + "attn.proj.{wb}", ours + "attention.projection.{wb}", _NUMBERED),
            Rule(theirs + "mlp.0.{wb}", ours + "linear1.{wb}", "activation and dropout are counted there"),
            Rule(theirs + "mlp.3.{wb}", ours + "linear2.{wb}", "activation and dropout are counted there"),
        ]
        if stage < 3:
            rules += [
                Rule(merging + "norm.{wb}", f"backbone.stages.{stage}.downsample.norm.{{wb}}", _NUMBERED),
                Rule(merging + "reduction.weight", f"backbone.stages.{stage}.downsample.reduction.weight", _NUMBERED),
            ]
    return rules


BACKBONE_FAMILIES = {
    family.name: family
    for family in (
        CheckpointFamily("torchvision's or timm's ResNet", TORCHVISION_RESNET),
        CheckpointFamily("Hugging Face's ResNet", HUGGINGFACE_RESNET),
        CheckpointFamily("lucid 2's ResNet", LUCID2_RESNET),
        CheckpointFamily("detectron2's ResNet", DETECTRON2_RESNET),
        CheckpointFamily("the original or lucid 2's Swin", ORIGINAL_SWIN, reorder_relative_position_bias),
        CheckpointFamily("timm's Swin", TIMM_SWIN),
        CheckpointFamily("torchvision's Swin", _torchvision_swin()),
        CheckpointFamily("Hugging Face's Swin", HUGGINGFACE_SWIN),
    )
}


class PretrainedBackbone(NamedTuple):
    """A backbone to start from.

    Attributes:
        arrays: float32 arrays by parameter name, which starts with `backbone.`, in the shapes of the parameters in
            MLX's layout. A classifier does not have the norms of a Swin's four feature maps; they keep their initial
            values.
        config: its `backbone_config`.
        image_config: with the normalization that comes with it; None if nothing says which.
    """

    arrays: dict[str, mx.array]
    config: dict[str, Any]
    image_config: ImageConfig | None


def read_backbone(path: str | PathLike[str], config: Mapping[str, Any] | None = None) -> PretrainedBackbone:
    """Read the backbone of a pretrained image classifier.

    Args:
        path: a .safetensors, .bin, .pth, .pt or .pkl file, or a folder with one: a ResNet with the keys of
            torchvision, timm, Hugging Face, detectron2 or lucid 2, or a Swin with the keys of its original release,
            timm, Hugging Face or lucid 2. No code in the file is run.
        config: the `backbone_config` of the model. None for that of the file: its shapes, and what a `config.json`
            beside it adds.

    Returns:
        The backbone.

    Raises:
        InputError: if the file is damaged, holds another model or code to run, or the configuration is wrong; one
            error lists all keys and parameters that are missing, unknown or mis-shaped.
    """
    if config is not None:
        parse_backbone_config(config)
    source = read_source(path)
    family = _family(source)
    found = find_network(source, BACKBONE_FAMILIES)
    renamed, problems = rename(family.rules, family.reorder(found.select(source.arrays)))
    if config is None:
        config = _own_config(source, family, renamed)
    shapes = _expected_shapes(config, renamed)
    if shapes.keys().isdisjoint(renamed):
        raise InputError(f"{path} holds {family.name}, but backbone_config describes a {config['model_type']!r}")
    try:
        arrays = to_mlx_layout(renamed, shapes, problems)
    except InputError as error:
        raise InputError(
            f"{source.name} has keys of {family.name}, but is another network, or of another shape: {error}"
        ) from None
    for note in found.notes:
        warnings.warn(note, stacklevel=3)
    arrays = {name: array.astype(mx.float32) for name, array in arrays.items()}
    return PretrainedBackbone(arrays, dict(config), _image_config(source))


def _family(source: SourceCheckpoint) -> CheckpointFamily:
    """Return the family of a backbone or classifier."""
    is_whole = any(".class_" in key or ".cls_embed" in key or key.startswith("class_p") for key in source.arrays)
    family = None
    with suppress(InputError):  # raised for the parts of another network, which look like several
        family = locate_network(source.arrays, BACKBONE_FAMILIES).family
    if family is not None and not is_whole:
        return family
    whole = "; a whole Mask2Former is given as weights, not as a backbone" if is_whole else ""
    raise InputError(
        f"{source.name}: the keys are of no known family ({', '.join(BACKBONE_FAMILIES)}): "
        f"{', '.join(shown(key, 100)[1:-1] for key in list(source.arrays)[:5])}{whole}"
    )


def _own_config(source: SourceCheckpoint, family: CheckpointFamily, renamed: Mapping[str, mx.array]) -> dict[str, Any]:
    """Return the `backbone_config` of a file: what its shapes tell, and what they cannot from a `config.json`."""
    try:
        config = infer_backbone({name: tuple(array.shape) for name, array in renamed.items()})
        build_backbone(config)
    except InputError as error:
        raise InputError(f"{source.name} has keys of {family.name}, but is another network: {error}") from None
    theirs = source.config or {}
    told = UNTOLD_BY_SHAPES if theirs.get("model_type") == config["model_type"] else ()
    return config | {name: theirs[name] for name in told if name in theirs}


def _expected_shapes(config: Mapping[str, Any], renamed: Mapping[str, mx.array]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters that a file must have; a classifier lacks the norms of a Swin's maps."""
    parameters = named_parameters(cast(nn.Module, build_backbone(config)))
    shapes = {f"backbone.{name}": tuple(array.shape) for name, array in parameters.items()}
    return {name: shape for name, shape in shapes.items() if name in renamed or ".norms." not in name}


def _image_config(source: SourceCheckpoint) -> ImageConfig | None:
    """Return the normalization of a Hugging Face or timm folder."""
    timm = (source.config or {}).get("pretrained_cfg")
    if source.preprocessor:
        raw = {name: x for name, x in source.preprocessor.items() if name in NORMALIZATION}
    elif isinstance(timm, Mapping) and {"mean", "std"} <= timm.keys():
        raw = {"image_mean": timm["mean"], "image_std": timm["std"]}
    else:
        return None
    try:
        return ImageConfig.from_dict(raw)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from None

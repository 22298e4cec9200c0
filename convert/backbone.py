"""Backbone weights from pretrained image classifiers, from which the training of a Mask2Former starts."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.convert import detectron2, huggingface, torchvision
from lucid_mlx.convert.families import CheckpointFamily
from lucid_mlx.convert.locate import find_network, locate_network
from lucid_mlx.convert.lucid import reorder_relative_position_bias
from lucid_mlx.convert.rules import Rule, rename, to_mlx_layout
from lucid_mlx.convert.source import read_source
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones import build_backbone
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.text import shown

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
    Rule("classifier.{wb}", None, _HEAD),
]

_SWIN = [
    *_replace_prefix(detectron2.SWIN, "backbone.patch_embed.", "patch_embed."),
    *_replace_prefix(detectron2.SWIN, "backbone." + _BLOCK, _BLOCK),
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

BACKBONE_FAMILIES = {
    family.name: family
    for family in (
        CheckpointFamily("torchvision's or timm's ResNet", TORCHVISION_RESNET),
        CheckpointFamily("Hugging Face's ResNet", HUGGINGFACE_RESNET),
        CheckpointFamily("lucid 2's ResNet", LUCID2_RESNET),
        CheckpointFamily("the original or lucid 2's Swin", ORIGINAL_SWIN, reorder_relative_position_bias),
        CheckpointFamily("timm's Swin", TIMM_SWIN),
        CheckpointFamily("Hugging Face's Swin", HUGGINGFACE_SWIN),
    )
}


def read_backbone(path: str | PathLike[str], config: Mapping[str, Any]) -> dict[str, mx.array]:
    """Read the backbone of a pretrained image classifier, to load it into a `Mask2Former` with `strict=False`.

    Args:
        path: a .safetensors, .bin, .pth, .pt or .pkl file, or a folder with one: a ResNet with the keys of
            torchvision, timm, Hugging Face or lucid 2, or a Swin with the keys of its original release, timm,
            Hugging Face or lucid 2. No code in the file is run.
        config: the `backbone_config` of the model.

    Returns:
        Float32 arrays by parameter name, which starts with `backbone.`, in the shapes of the parameters in MLX's
        layout. A classifier does not have the norms of a Swin's four feature maps; they keep their initial values.

    Raises:
        InputError: if the file is damaged, holds another model or code to run, or the configuration is wrong; one
            error lists all keys and parameters that are missing, unknown or mis-shaped.
    """
    backbone = cast(nn.Module, build_backbone(config))
    source = read_source(path)
    family = locate_network(source.arrays, BACKBONE_FAMILIES).family
    is_whole = any(".class_" in key or ".cls_embed" in key or key.startswith("class_p") for key in source.arrays)
    if family is None or is_whole:
        whole = "; a whole Mask2Former is given as weights, not as a backbone" if is_whole else ""
        raise InputError(
            f"{source.name}: the keys are of no known family ({', '.join(BACKBONE_FAMILIES)}): "
            f"{', '.join(shown(key, 100)[1:-1] for key in list(source.arrays)[:5])}{whole}"
        )
    found = find_network(source, BACKBONE_FAMILIES)
    renamed, problems = rename(family.rules, family.reorder(found.select(source.arrays)))
    expected = {
        f"backbone.{name}": tuple(array.shape)
        for name, array in named_parameters(backbone).items()
        if not name.startswith("norms.")
    }
    if expected.keys().isdisjoint(renamed):
        raise InputError(f"{path} holds {family.name}, but backbone_config describes a {config['model_type']!r}")
    arrays = to_mlx_layout(renamed, expected, problems)
    for note in found.notes:
        warnings.warn(note, stacklevel=3)
    return {name: array.astype(mx.float32) for name, array in arrays.items()}

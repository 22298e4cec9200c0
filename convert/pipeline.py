"""Convert a checkpoint of another system: open it, rename its arrays, change their layout, write a folder."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.card import model_card
from lucid_mlx.convert.detectron2_yaml import Detectron2Config, read_detectron2_yaml
from lucid_mlx.convert.families import FAMILIES, CheckpointFamily
from lucid_mlx.convert.infer import infer_config
from lucid_mlx.convert.labels import choose_labels, fit_to_head, has_names, with_names
from lucid_mlx.convert.lucid_config import from_lucid3, is_lucid3_config
from lucid_mlx.convert.network import open_network
from lucid_mlx.convert.origin import PublishedCheckpoint, identify_checkpoint
from lucid_mlx.convert.other_models import name_other_model
from lucid_mlx.convert.rules import Rule, rename, to_mlx_layout
from lucid_mlx.convert.source import SourceCheckpoint, read_source
from lucid_mlx.datasets import dataset_task
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.utils.files import local_path, read_json
from lucid_mlx.utils.parameters import count_and_list, load_parameters, named_parameters
from lucid_mlx.weights.checkpoint import (
    CONFIG_FILE,
    MLX_FORMAT,
    Checkpoint,
    ensure_empty,
    read_checkpoint,
    write_checkpoint,
)
from lucid_mlx.weights.download import LocalFiles, download
from lucid_mlx.weights.quantize import dequantized_arrays, quantize
from lucid_mlx.weights.registry import WeightsLike

CONVERTER_VERSION = "2"


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint in memory; the arrays are computed when they are used.

    Attributes:
        source: the opened source, without its arrays, so that each is freed after it was converted.
        source_keys: the keys of its arrays.
        family: of the source.
        config: of the network.
        arrays: by parameter name, in MLX's layout.
        metadata: source, revision, family, license, dataset, task and trained_on, as far as they are known.
        preprocessor: for `preprocessor_config.json`; empty if the source has none.
        quantization: the entry "quantization" of `config.json`; None without quantized layers.
        notes: for the user.
    """

    source: SourceCheckpoint
    source_keys: Sequence[str]
    family: CheckpointFamily
    config: Mask2FormerConfig
    arrays: dict[str, mx.array]
    metadata: dict[str, str]
    preprocessor: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None
    notes: Sequence[str] = ()

    def to_checkpoint(self) -> Checkpoint:
        """Return what `read_checkpoint` would return after `write`; warn of parameters that are not finite."""
        not_finite = [
            name
            for name, array in self.arrays.items()
            if mx.issubdtype(array.dtype, mx.floating) and not mx.isfinite(array).all().item()
        ]
        for problem in count_and_list("parameters hold NaN or infinite values", not_finite):
            warnings.warn(f"{self.metadata['source']}: {problem}; its results will be useless", stacklevel=2)
        config = self.config.to_dict()
        if self.quantization is not None:
            config["quantization"] = self.quantization
        return Checkpoint(config, self.arrays, self.metadata, self.preprocessor)

    def write(self, destination: str | PathLike[str], force: bool = False) -> Path:
        """Write a folder that `lucid_mlx.load` reads, completely or not at all.

        Args:
            destination: the folder; it must not exist, or be empty.
            force: replace a folder that was written like this.

        Returns:
            The folder.

        Raises:
            InputError: if the folder is not empty, or cannot be written.
        """
        if self.source.folder is not None and self.source.folder.resolve() == local_path(destination).resolve():
            raise InputError(f"{destination} is the source; choose another destination")
        checkpoint = self.to_checkpoint()
        metadata = {
            **checkpoint.metadata,
            "sha256": checkpoint.metadata.get("sha256") or self.source.sha256(),
            "converter": f"lucid_mlx.convert {CONVERTER_VERSION}",
        }
        card = model_card(self.config, metadata, self.quantization)
        return write_checkpoint(
            destination, checkpoint.config, checkpoint.arrays, metadata, checkpoint.preprocessor, card, force=force
        )


def convert(
    source: WeightsLike,
    destination: str | PathLike[str],
    *,
    family: str | None = None,
    dtype: mx.Dtype | None = None,
    quantize_bits: int | None = None,
    group_size: int = 64,
    config: str | PathLike[str] | None = None,
    labels: str | PathLike[str] | Sequence[str] | None = None,
    key: str | None = None,
    ema: bool = False,
    force: bool = False,
) -> Path:
    """Convert a Mask2Former checkpoint to a folder that `lucid_mlx.load` reads, without torch.

    Args:
        source: a file (.safetensors, .bin, .pth, .pt, .ckpt, .pkl), whose code is never run; a folder with one or with
            an index of shards; a name on the Hugging Face hub, with `@revision` if wanted; an `hf://` or `https://`
            address; a member of a weights enumeration, or its tag ("mask2former_swin_small:ADE20K_SEMANTIC"); or a
            converted folder, of which `dtype`, `quantize_bits` and `labels` change what they name.
        destination: the folder to write, completely or not at all; it must not exist, or be empty, without `force`.
        family: "huggingface", "detectron2", "lucid2", "lucid3" or "openmmlab"; detected from the keys if None.
        dtype: floating-point type to store; None keeps the source's, except for float64, which becomes float32.
        quantize_bits: 4 or 8: quantize linear layers to this number of bits. None: do not quantize.
        group_size: number of quantized weights that share a scale and a bias, 32, 64 or 128.
        config: the YAML file of a detectron2 checkpoint, of which the rest is inferred from shapes; or a config.json.
        labels: names of the classes, if the source has none: a dataset ("coco_panoptic"), a file with one name on each
            line or with JSON, or the names.
        key: names of what holds the network in the file, such as "state_dict.student"; looked for if None.
        ema: take the averaged weights (EMA) where a file has both; by default it is the raw ones.
        force: replace a converted folder; anything else is never replaced.

    Returns:
        The destination.

    Raises:
        InputError: if the source is not available, incomplete, damaged, not a Mask2Former, or needs code to run; one
            error lists all keys and parameters that are missing, unknown or mis-shaped.
    """
    ensure_empty(local_path(destination, "destination"), force)
    conversion = convert_in_memory(
        source,
        family=family,
        dtype=dtype,
        quantize_bits=quantize_bits,
        group_size=group_size,
        config=config,
        labels=labels,
        key=key,
        ema=ema,
    )
    return conversion.write(destination, force)


def convert_in_memory(
    source: WeightsLike | LocalFiles,
    *,
    family: str | None = None,
    dtype: mx.Dtype | None = None,
    quantize_bits: int | None = None,
    group_size: int = 64,
    config: str | PathLike[str] | None = None,
    labels: str | PathLike[str] | Sequence[str] | None = None,
    key: str | None = None,
    ema: bool = False,
) -> Conversion:
    """Convert a Mask2Former checkpoint without writing it.

    Args:
        source: a file, folder, name, address, registry tag or member, as for `convert`; or downloaded files.
        family: "huggingface", "detectron2", "lucid2", "lucid3" or "openmmlab"; detected from the keys if None.
        dtype: floating-point type of the arrays; None keeps the source's, except for float64, which becomes float32.
        quantize_bits: 4 or 8: quantize linear layers to this number of bits. None: do not quantize.
        group_size: number of quantized weights that share a scale and a bias, 32, 64 or 128.
        config: the YAML file of a detectron2 checkpoint, of which the rest is inferred from shapes; or a config.json.
        labels: names of the classes, if the source has none: a dataset, a file or the names, as for `convert`.
        key: names of what holds the network in the file, as for `convert`.
        ema: take the averaged weights (EMA) where a file has both.

    Returns:
        The conversion; its arrays are computed when they are used.

    Raises:
        InputError: as for `convert`.
    """
    local = source if isinstance(source, LocalFiles) else download(source)
    opened = read_source(local.path)
    if opened.metadata.get("format") == MLX_FORMAT:
        if family is not None or config is not None or key is not None or ema:
            raise InputError(f"{local.name} is converted already: leave out --from, --config, --key and --ema")
        return _convert_again(local, opened, dtype, quantize_bits, group_size, labels)
    if family is not None and family not in FAMILIES:
        raise InputError(f"there is no family {family!r}; expected one of {', '.join(FAMILIES)}")
    yaml = None
    if config is not None and _is_json(config):
        opened = replace(opened, config=read_json(_json_path(config)))
    elif config is not None:
        yaml = read_detectron2_yaml(config)
    if opened.config is not None:
        opened = replace(opened, config=with_names(opened.config))
    all_keys = list(opened.arrays)
    chosen, opened, beside = open_network(opened, family, key, ema)
    if yaml is not None and chosen.name != "detectron2":
        raise InputError(f"{local.name} is of the family {chosen.name}; only detectron2's checkpoints have a YAML")
    published = identify_checkpoint(local.name)

    try:
        renamed, problems = rename(chosen.rules, chosen.reorder(opened.arrays))
        network = _network_config(opened, chosen, renamed, problems, labels is not None)
        if yaml is not None:
            network = yaml.apply_to(network)
        arrays = _fit(network, renamed, problems)
    except InputError as error:
        if other := name_other_model(all_keys):
            raise InputError(f"{opened.name}: {other}") from error
        raise
    for remark in beside:
        warnings.warn(remark, stacklevel=4)
    if dtype is not None:
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}

    dataset = (yaml.dataset if yaml else None) or (published.dataset if published else None)
    notes = []
    if opened.config is None or labels is not None or not has_names(opened.config, dataset):
        names, note = choose_labels(network.num_labels, labels, opened.labels, dataset)
        network.id2label = dict(enumerate(names))
        notes += [note] if note else []
    trained_on = _trained_on(yaml, published, all_keys)
    if trained_on == "clips":
        notes.append("it was trained on clips: all frames of a clip at once; a photo is a clip of one frame")
    quantization = None
    if quantize_bits is not None:
        arrays, quantization = _quantize(network, arrays, quantize_bits, group_size)
    return Conversion(
        source=replace(opened, arrays={}),
        source_keys=list(opened.arrays),
        family=chosen,
        config=network,
        arrays=arrays,
        metadata=_metadata(local, opened, chosen, published, dataset)
        | ({"task": yaml.task} if yaml and yaml.task else {})
        | ({"trained_on": trained_on} if trained_on else {}),
        preprocessor=opened.preprocessor or (yaml.preprocessor if yaml else {}),
        quantization=quantization,
        notes=notes,
    )


def _convert_again(
    local: LocalFiles,
    opened: SourceCheckpoint,
    dtype: mx.Dtype | None,
    quantize_bits: int | None,
    group_size: int,
    labels: str | PathLike[str] | Sequence[str] | None,
) -> Conversion:
    """Change the type, the quantization or the names of the classes of a folder that was converted before."""
    if dtype is None and quantize_bits is None and labels is None:
        raise InputError(
            f"{local.name} is in MLX's layout already: load it as it is, or say what to change: --dtype, --quantize, "
            "--class-names or --to huggingface"
        )
    if opened.folder is None:
        raise InputError(f"{local.name} is in MLX's layout, and lacks the {CONFIG_FILE} beside it; give its folder")
    checkpoint = read_checkpoint(opened.folder)
    network = Mask2FormerConfig.from_dict(checkpoint.config)
    arrays, quantization = dequantized_arrays(checkpoint), None
    notes = []
    if before := checkpoint.config.get("quantization"):
        notes.append(
            f"its layers had {before['bits']} bits, and are as inaccurate as before: better convert the source"
        )
    if dtype is not None:
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    if labels is not None:
        network.id2label = dict(enumerate(choose_labels(network.num_labels, labels, (), None)[0]))
    if quantize_bits is not None:
        arrays, quantization = _quantize(network, arrays, quantize_bits, group_size)
    return Conversion(
        source=replace(opened, arrays={}),
        source_keys=list(arrays),
        family=CheckpointFamily("mlx", [Rule("{any}", "{any}", "converted already")]),
        config=network,
        arrays=arrays,
        metadata={"source": opened.name, "family": "mlx", **checkpoint.metadata},
        preprocessor=checkpoint.preprocessor,
        quantization=quantization,
        notes=notes,
    )


def _network_config(
    source: SourceCheckpoint,
    family: CheckpointFamily,
    renamed: dict[str, mx.array],
    problems: list[str],
    named: bool,
) -> Mask2FormerConfig:
    """Read the configuration of the network from `config.json`, or infer it from the shapes of the parameters."""
    if source.config is not None and is_lucid3_config(source.config):
        return from_lucid3(source.config)
    if source.config is not None:
        head = renamed.get("transformer_decoder.class_head.weight")
        fitted = source.config if head is None else fit_to_head(source.config, head.shape[0] - 1, named)
        return Mask2FormerConfig.from_huggingface(fitted)
    written_by_transformers = source.files[0].suffix in (".safetensors", ".bin")
    if source.folder is not None and family.name == "huggingface" and written_by_transformers:
        raise InputError(
            f"{source.folder} has no {CONFIG_FILE}; give its file {source.files[0].name} instead, to infer "
            "the configuration from shapes, or name it: lucid-mlx convert --config (in Python convert(..., config=))"
        )
    try:
        return infer_config({name: tuple(array.shape) for name, array in renamed.items()})
    except InputError as error:
        raise InputError("; ".join([str(error), *problems])) from None


def _fit(network: Mask2FormerConfig, renamed: dict[str, mx.array], problems: list[str]) -> dict[str, mx.array]:
    expected = {name: tuple(array.shape) for name, array in named_parameters(Mask2Former(network)).items()}
    return to_mlx_layout(renamed, expected, problems)


def _is_json(config: str | PathLike[str]) -> bool:
    path = local_path(config, "config")
    return path.suffix == ".json" or path.is_dir()


def _json_path(config: str | PathLike[str]) -> Path:
    path = local_path(config, "config")
    return path / CONFIG_FILE if path.is_dir() else path


def _quantize(
    config: Mask2FormerConfig, arrays: dict[str, mx.array], bits: int, group_size: int
) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Quantize arrays; return them and the entry "quantization" of `config.json`."""
    model = Mask2Former(config)
    load_parameters(model, arrays)
    quantization = quantize(model, bits, group_size)
    return named_parameters(model), quantization


def _trained_on(
    yaml: Detectron2Config | None, published: PublishedCheckpoint | None, keys: Sequence[str]
) -> str | None:
    """Return "clips" for a network that sees all frames of a clip at once, "images" for others; None if unknown."""
    if yaml is not None:
        return yaml.trained_on
    if published is not None:
        return published.trained_on
    return "clips" if any(key.startswith("track_head.") for key in keys) else None  # MMDetection's head for clips


def _metadata(
    local: LocalFiles,
    source: SourceCheckpoint,
    family: CheckpointFamily,
    published: PublishedCheckpoint | None,
    dataset: str | None,
) -> dict[str, str]:
    """Return the known metadata of a source."""
    downloaded = local.revision is not None or "://" in local.name
    known = {
        "source": local.name if downloaded else source.name,
        "revision": local.revision,
        "family": family.name,
        "license": published.license if published else source.license,
        "dataset": dataset,
        "task": dataset_task(dataset) if dataset else None,
    }
    return {name: value for name, value in known.items() if value}

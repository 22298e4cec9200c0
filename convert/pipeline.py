"""From a checkpoint to an MLX folder, in one go."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.card import model_card
from lucid_mlx.convert.detectron2_yaml import read_detectron2_yaml
from lucid_mlx.convert.families import FAMILIES, Family, detect
from lucid_mlx.convert.infer import infer_config
from lucid_mlx.convert.labels import choose_labels
from lucid_mlx.convert.origin import Origin, recognize
from lucid_mlx.convert.rules import rename, to_mlx_layout
from lucid_mlx.convert.source import Source, read_source
from lucid_mlx.datasets import dataset_task
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.utils.parameters import listing, load_parameters, named_parameters
from lucid_mlx.weights.checkpoint import (
    CONFIG,
    FORMAT,
    Checkpoint,
    ensure_free,
    write_checkpoint,
)
from lucid_mlx.weights.download import Downloaded, download
from lucid_mlx.weights.quantize import quantize
from lucid_mlx.weights.registry import WeightsLike

CONVERTER_VERSION = "2"


@dataclass(frozen=True)
class Conversion:
    """A checkpoint in our terms; the arrays are computed when they are used.

    Attributes:
        source: the opened source, without its arrays: each is freed once it is converted.
        keys: of the source.
        family: who wrote it.
        config: of the network.
        arrays: by parameter name, in MLX's layout.
        metadata: where it comes from: source, revision, family, license, dataset.
        preprocessor: the image configuration of the images, in Hugging Face's terms; empty if the source has none.
        quantization: the record of quantized layers, None if there are none.
        notes: what a user should know.
    """

    source: Source
    keys: Sequence[str]
    family: Family
    config: Mask2FormerConfig
    arrays: dict[str, mx.array]
    metadata: dict[str, str]
    preprocessor: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None
    notes: Sequence[str] = ()

    def checkpoint(self) -> Checkpoint:
        """Return it as `read_checkpoint` would once it is written; warns of parameters that are not finite."""
        odd = [
            name
            for name, array in self.arrays.items()
            if mx.issubdtype(array.dtype, mx.floating) and not mx.isfinite(array).all().item()
        ]
        for phrase in listing("parameters hold NaN or infinite values", odd):
            warnings.warn(f"{self.metadata['source']}: {phrase}; its results will be useless", stacklevel=2)
        config = self.config.to_dict()
        if self.quantization is not None:
            config["quantization"] = self.quantization
        return Checkpoint(config, self.arrays, self.metadata, self.preprocessor)

    def write(self, destination: str | PathLike[str]) -> Path:
        """Write the folder: it is complete, or nothing is left of it.

        Raises:
            InputError: if there is something already, or it cannot be written.
        """
        result = self.checkpoint()
        metadata = {
            **result.metadata,
            "sha256": self.source.sha256(),
            "converter": f"lucid_mlx.convert {CONVERTER_VERSION}",
        }
        card = model_card(self.config, metadata, self.quantization)
        return write_checkpoint(destination, result.config, result.arrays, metadata, result.preprocessor, card)


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
) -> Path:
    """Convert a Mask2Former checkpoint to a folder that `lucid_mlx.load` reads. No torch, and no code in it is run.

    Args:
        source: a file (.safetensors, .bin, .pth, .pt, .pkl); a folder with one or with an index of parts; a name on
            the Hugging Face hub, with `@revision` if wanted; an `hf://` or `https://` address; a member of a weights
            enumeration, or its tag ("mask2former_swin_small:ADE20K_SEMANTIC").
        destination: the folder to write; it must not exist, or be empty.
        family: "huggingface", "detectron2", "lucid2", "lucid3" or "openmmlab"; told from the keys if None.
        dtype: floating-point type to store; None keeps the source's, but for float64, which becomes float32.
        quantize_bits: 4 or 8: store the linear layers that bear it in so many bits.
        group_size: weights that share a scale: 32, 64 or 128.
        config: the YAML of a detectron2 checkpoint; what it does not say is inferred from the shapes.
        labels: names of the classes, if the source has none: a dataset ("coco_panoptic"), a file with one name a
            line or with JSON, or the names.

    Returns:
        The destination. It is complete, or nothing is left of it.

    Raises:
        InputError: if the source cannot be had, is incomplete, damaged, of another kind, converted already, or asks
            to run code; one error lists every key that is missing, unknown or mis-shaped.
    """
    ensure_free(Path(destination).expanduser())
    conversion = convert_in_memory(
        source,
        family=family,
        dtype=dtype,
        quantize_bits=quantize_bits,
        group_size=group_size,
        config=config,
        labels=labels,
    )
    return conversion.write(destination)


def convert_in_memory(
    source: WeightsLike | Downloaded,
    *,
    family: str | None = None,
    dtype: mx.Dtype | None = None,
    quantize_bits: int | None = None,
    group_size: int = 64,
    config: str | PathLike[str] | None = None,
    labels: str | PathLike[str] | Sequence[str] | None = None,
) -> Conversion:
    """Do all of a conversion but the writing; arguments and errors as `convert`."""
    downloaded = source if isinstance(source, Downloaded) else download(source)
    opened = read_source(downloaded.path)
    if opened.metadata.get("format") == FORMAT:
        raise InputError(f"{downloaded.name} is in MLX's layout already: load it as it is")
    if family is not None and family not in FAMILIES:
        raise InputError(f"there is no family {family!r}; expected one of {', '.join(FAMILIES)}")
    chosen = detect(opened.arrays) if family is None else FAMILIES[family]
    origin = recognize(downloaded.name)
    if config is not None and chosen.name != "detectron2":
        raise InputError(f"{downloaded.name} is of the family {chosen.name}; a YAML goes with detectron2's")
    yaml = None if config is None else read_detectron2_yaml(config)

    renamed, problems = rename(chosen.rules, chosen.repair(opened.arrays))
    network = _config(opened, chosen, renamed, problems)
    if yaml is not None:
        network = yaml.build(network)
    wanted = {name: tuple(array.shape) for name, array in named_parameters(Mask2Former(network)).items()}
    arrays = to_mlx_layout(renamed, wanted, problems)
    if dtype is not None:
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}

    dataset = (yaml.dataset if yaml else None) or (origin.dataset if origin else None)
    notes = []
    if opened.config is None or labels is not None:
        names, note = choose_labels(network.num_labels, labels, opened.labels, dataset)
        network.id2label = dict(enumerate(names))
        notes += [note] if note else []
    if (yaml and yaml.video) or (origin and origin.video):
        notes.append("a video model: on single images its network is the same; frames are segmented one by one")
    record = None
    if quantize_bits is not None:
        arrays, record = _quantized(network, arrays, quantize_bits, group_size)
    metadata = _provenance(downloaded, opened, chosen, origin, dataset)
    preprocessor = opened.preprocessor or (yaml.preprocessor if yaml else {})
    alone = replace(opened, arrays={})
    return Conversion(alone, list(opened.arrays), chosen, network, arrays, metadata, preprocessor, record, notes)


def _config(source: Source, family: Family, renamed: dict[str, mx.array], problems: list[str]) -> Mask2FormerConfig:
    if source.config is not None:
        return Mask2FormerConfig.from_huggingface(source.config)
    if source.folder is not None and family.name == "huggingface":
        raise InputError(
            f"{source.folder} has no {CONFIG}; get it, or give {source.files[0].name} itself to infer what it says"
        )
    try:
        return infer_config({name: tuple(array.shape) for name, array in renamed.items()})
    except InputError as error:
        raise InputError("; ".join([str(error), *problems])) from None


def _quantized(
    config: Mask2FormerConfig, arrays: dict[str, mx.array], bits: int, group_size: int
) -> tuple[dict[str, mx.array], dict[str, Any]]:
    model = Mask2Former(config)
    load_parameters(model, arrays)
    record = quantize(model, bits, group_size)
    return named_parameters(model), record


def _provenance(
    downloaded: Downloaded, source: Source, family: Family, origin: Origin | None, dataset: str | None
) -> dict[str, str]:
    """Return what is known of a source, without what is not."""
    local = downloaded.revision is None and "://" not in downloaded.name
    known = {
        "source": source.name if local else downloaded.name,
        "revision": downloaded.revision,
        "family": family.name,
        "license": origin.license if origin else source.license,
        "dataset": dataset,
        "task": dataset_task(dataset) if dataset else None,
    }
    return {name: value for name, value in known.items() if value}

"""From a checkpoint to an MLX folder, in one go."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import mlx.core as mx

from lucid_mlx.convert.families import FAMILIES, Family, detect
from lucid_mlx.convert.infer import infer_config
from lucid_mlx.convert.rules import rename, to_mlx_layout
from lucid_mlx.convert.source import Source, open_source
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.weights.checkpoint import CONFIG, FORMAT, ensure_free, write_checkpoint
from lucid_mlx.weights.fill import named_parameters

CONVERTER_VERSION = "1"


@dataclass(frozen=True)
class Conversion:
    """A checkpoint as it will be written; the arrays are computed when they are used."""

    source: Source
    family: Family
    config: Mask2FormerConfig
    arrays: dict[str, mx.array]

    def write(self, destination: str | PathLike[str]) -> Path:
        """Write the folder: it is complete, or nothing is left of it.

        Raises:
            InputError: if there is something already, or it cannot be written.
        """
        return write_checkpoint(
            destination,
            self.config.to_dict(),
            self.arrays,
            {
                "source": self.source.name,
                "family": self.family.name,
                "sha256": self.source.sha256(),
                "converter": f"lucid_mlx.convert {CONVERTER_VERSION}",
            },
            self.source.preprocessor,
        )


def convert(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    family: str | None = None,
    dtype: mx.Dtype | None = None,
) -> Path:
    """Convert a Mask2Former checkpoint to a folder that `lucid_mlx.load` reads. No torch, and no code in it is run.

    Args:
        source: a file (.safetensors, .bin, .pth, .pt, .pkl), or a folder with one or with an index of parts.
            `config.json` and `preprocessor_config.json` of a Hugging Face folder are used; for other families the
            configuration is inferred from the shapes, and the classes are named by number.
        destination: the folder to write; it must not exist, or be empty.
        family: "huggingface", "detectron2", "lucid2", "lucid3" or "openmmlab"; told from the keys if None.
        dtype: floating-point type to store; None keeps the source's, but for float64, which becomes float32.

    Returns:
        The destination. It is complete, or nothing is left of it.

    Raises:
        InputError: if the source is incomplete, damaged, of another kind, converted already, or asks to run code;
            one error lists every key that is missing, unknown or mis-shaped.
    """
    ensure_free(Path(destination).expanduser())
    return prepare(source, family=family, dtype=dtype).write(destination)


def prepare(source: str | PathLike[str], *, family: str | None = None, dtype: mx.Dtype | None = None) -> Conversion:
    """Do all of a conversion but the writing; arguments and errors as `convert`."""
    opened = open_source(source)
    if opened.metadata.get("format") == FORMAT:
        raise InputError(f"{source} is in MLX's layout already: load it as it is")
    if family is not None and family not in FAMILIES:
        raise InputError(f"there is no family {family!r}; expected one of {', '.join(FAMILIES)}")
    chosen = detect(opened.arrays) if family is None else FAMILIES[family]
    renamed, problems = rename(chosen.rules, chosen.repair(opened.arrays))
    config = _config(opened, chosen, renamed, problems)
    wanted = {name: tuple(array.shape) for name, array in named_parameters(Mask2Former(config)).items()}
    arrays = to_mlx_layout(renamed, wanted, problems)
    if dtype is not None:
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    return Conversion(opened, chosen, config, arrays)


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

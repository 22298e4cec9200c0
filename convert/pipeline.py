"""From a checkpoint folder to an MLX folder, in one go."""

import hashlib
from os import PathLike
from pathlib import Path

from lucid_mlx.convert.huggingface import RULES
from lucid_mlx.convert.rules import rename, to_mlx_layout
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.weights.checkpoint import (
    CONFIG,
    FORMAT,
    PREPROCESSOR,
    WEIGHTS,
    checkpoint_folder,
    ensure_free,
    read_json,
    read_safetensors,
    write_checkpoint,
)
from lucid_mlx.weights.fill import named_parameters

CONVERTER_VERSION = "1"


def convert(source: str | PathLike[str], destination: str | PathLike[str]) -> Path:
    """Convert a Hugging Face checkpoint folder to a folder that `lucid_mlx.load` reads.

    Args:
        source: a folder with `config.json`, `model.safetensors` and, if the recipe of the images is to be kept,
            `preprocessor_config.json`.
        destination: the folder to write; it must not exist, or be empty.

    Returns:
        The destination. It is complete, or nothing is left of it.

    Raises:
        InputError: if the source is incomplete, damaged, of another kind, or converted already; one error lists
            every key that is missing, unknown or mis-shaped.
    """
    ensure_free(Path(destination).expanduser())
    folder = checkpoint_folder(source)
    raw = read_json(folder / CONFIG)
    arrays, metadata = read_safetensors(folder / WEIGHTS)
    if metadata.get("format") == FORMAT:
        raise InputError(f"{folder} is in MLX's layout already: load it as it is")
    config = Mask2FormerConfig.from_huggingface(raw)
    wanted = {name: tuple(array.shape) for name, array in named_parameters(Mask2Former(config)).items()}
    renamed, problems = rename(RULES, arrays)
    converted = to_mlx_layout(renamed, wanted, problems)
    preprocessor = folder / PREPROCESSOR
    return write_checkpoint(
        destination,
        config.to_dict(),
        converted,
        {
            "source": raw.get("_name_or_path") or folder.resolve().name,
            "sha256": _sha256(folder / WEIGHTS),
            "converter": f"lucid_mlx.convert {CONVERTER_VERSION}",
        },
        read_json(preprocessor) if preprocessor.exists() else {},
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

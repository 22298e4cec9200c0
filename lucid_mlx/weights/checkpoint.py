"""A converted model on disk: a folder with `config.json`, `model.safetensors` and `preprocessor_config.json`.

The arrays are in MLX's layout (convolutions O, H, W, I) under the model's own parameter names, and the file's
metadata say so with `format: mlx`. A file without that mark is never read as one.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx
from safetensors import SafetensorError, safe_open

from lucid_mlx.datasets import DATASETS, dataset_task
from lucid_mlx.errors import InputError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
PREPROCESSOR = "preprocessor_config.json"
CARD = "README.md"
FORMAT = "mlx"

SHARD = 5 * 10**9  # bytes in one file at most, as Hugging Face cuts


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a folder; the arrays are read from disk when they are used.

    Attributes:
        config: of `config.json`.
        arrays: by parameter name, in MLX's layout.
        metadata: of the weights file: source, revision, license, dataset, task, things.
        preprocessor: of `preprocessor_config.json`; empty if there is none.
    """

    config: dict[str, Any]
    arrays: dict[str, mx.array]
    metadata: dict[str, str]
    preprocessor: dict[str, Any]

    @property
    def dataset(self) -> str | None:
        """What the network was trained on, such as "coco_panoptic"; None if that is not known."""
        return self.metadata.get("dataset")

    @property
    def task(self) -> str | None:
        """What the network was trained for: "semantic", "instance" or "panoptic"; None if that is not known."""
        if self.dataset in DATASETS:
            return dataset_task(self.dataset)
        return self.metadata.get("task")

    @property
    def thing_ids(self) -> frozenset[int] | None:
        """The classes that have countable objects; None if the checkpoint does not say."""
        things = self.metadata.get("things")
        return None if things is None else frozenset(map(int, things.split()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: if the file is missing, is no JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent} has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, found {type(value).__name__}")
    return value


def checkpoint_folder(path: str | PathLike[str]) -> Path:
    """Return the path if it is a folder.

    Raises:
        InputError: if it is not.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        raise InputError(f"{folder} does not exist; expected a folder with {CONFIG} and {WEIGHTS}")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder with {CONFIG} and {WEIGHTS}")
    return folder


def read_safetensors(path: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """Open a safetensors file; the arrays are read when they are used.

    The header is checked by the safetensors library first, against the size of the file.

    Raises:
        InputError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} has no {path.name}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            keys = list(file.keys())
            if any(file.get_slice(key).get_dtype() == "F64" for key in keys):
                # MLX does not read float64; some buffers of lucid's are.
                return {key: mx.array(file.get_tensor(key)) for key in keys}, metadata
        arrays = mx.load(str(path), format="safetensors")
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged or incomplete: {error}") from error
    assert isinstance(arrays, dict)
    return arrays, metadata


def parts_of_index(index: Path) -> dict[str, str]:
    """Read which of the files beside it holds each array.

    Raises:
        InputError: if it is no index, or names a file that is not beside it.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(f"{index} has no weight_map")
    for name in set(map(str, places.values())):
        if Path(name).name != name:
            raise InputError(f"{index} refers to {name!r}, which is not beside it")
    return {key: str(name) for key, name in places.items()}


def is_converted(path: Path) -> bool:
    """Return whether a path is a folder in MLX's layout."""
    folder = path.expanduser()
    file = folder / WEIGHTS
    if not file.is_file() and (folder / INDEX).is_file():
        file = folder / next(iter(parts_of_index(folder / INDEX).values()))
    try:
        with safe_open(file, framework="numpy") as opened:
            return (opened.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read a converted folder.

    Raises:
        InputError: if it is no folder, lacks a file, a file is damaged, or the weights are not MLX's.
    """
    folder = checkpoint_folder(path)
    config = read_json(folder / CONFIG)
    files = [WEIGHTS]
    if not (folder / WEIGHTS).exists() and (folder / INDEX).exists():
        files = sorted(set(parts_of_index(folder / INDEX).values()))
    arrays: dict[str, mx.array] = {}
    for name in files:
        part, metadata = read_safetensors(folder / name)
        arrays |= part
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{folder / files[-1]} is not in MLX's layout (its format is {metadata.get('format')!r}); "
            f"convert the folder first: lucid-mlx convert {folder} DEST"
        )
    preprocessor = folder / PREPROCESSOR
    return Checkpoint(config, arrays, metadata, read_json(preprocessor) if preprocessor.exists() else {})


def write_checkpoint(
    path: str | PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, mx.array],
    metadata: Mapping[str, str],
    preprocessor: Mapping[str, Any],
    card: str = "",
    layout: str = FORMAT,
) -> Path:
    """Write a folder at once: it is complete, or it is not there.

    Args:
        path: the folder; it must not exist, or be empty.
        config: for `config.json`.
        arrays: by parameter name.
        metadata: for the header of the weights; `format` is added.
        preprocessor: for `preprocessor_config.json`.
        card: for `README.md`; none is written if it is empty.
        layout: for `format`, whose names and layout the arrays have: MLX's, or "pt" for torch's.

    Returns:
        The folder.

    Raises:
        InputError: if there is something already, or the folder cannot be written.
    """
    folder = Path(path).expanduser().resolve()
    ensure_free(folder)
    missing = [parent for parent in folder.parents if not parent.exists()]
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for name, value in ((CONFIG, config), (PREPROCESSOR, preprocessor)):
            (temporary / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        if card:
            (temporary / CARD).write_text(card, encoding="utf-8")
        _write_arrays(temporary, arrays, {**metadata, "format": layout})
        temporary.chmod(0o755)  # mkdtemp's folders are private
        temporary.replace(folder)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for parent in missing:
            with contextlib.suppress(OSError):  # which means that something is in it
                parent.rmdir()
    return folder


def _write_arrays(folder: Path, arrays: Mapping[str, mx.array], metadata: dict[str, str]) -> None:
    """Write one file, or several of at most `SHARD` bytes and an index."""
    parts: list[dict[str, mx.array]] = [{}]
    room = SHARD
    for name, array in arrays.items():
        if array.nbytes > room and parts[-1]:
            parts.append({})
            room = SHARD
        parts[-1][name] = array
        room -= array.nbytes
    if len(parts) == 1:
        mx.save_safetensors(str(folder / WEIGHTS), parts[0], metadata)
        return
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        mx.save_safetensors(str(folder / file), part, metadata)
        places |= dict.fromkeys(part, file)
    size = sum(array.nbytes for array in arrays.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def ensure_free(folder: Path) -> None:
    """Raise InputError if something is where the folder is to be."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already; choose another destination or remove it first")

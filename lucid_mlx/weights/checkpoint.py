"""A converted checkpoint on disk: a folder with `config.json`, `model.safetensors` and `preprocessor_config.json`.

The arrays have the model's own parameter names and MLX's layout (convolution weights O, H, W, I). The metadata of the
safetensors file say so with `format: mlx`; a file without that entry is never read as one in MLX's layout.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
from safetensors import SafetensorError, safe_open

from lucid_mlx.datasets import DATASETS, dataset_task
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_file, local_path, read_json, temporary_folder
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
CARD_FILE = "README.md"

# The files that may hold the weights of a Hugging Face folder or repository, in order of preference.
WEIGHT_FILES = (WEIGHTS_FILE, INDEX_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json")

# The files that a user may name for a converted folder.
CONVERTED_FILES = (WEIGHTS_FILE, INDEX_FILE)

MLX_FORMAT = "mlx"

# What a converted folder holds, and what a file browser puts into it.
_WRITTEN = re.compile(
    r"config\.json|preprocessor_config\.json|README\.md|model[-.\w]*\.safetensors(\.index\.json)?|\.DS_Store"
)

MAX_FILE_NAME = 255  # bytes, which file systems allow

MAX_SHARD_SIZE = 5 * 10**9  # bytes in one file, as in `save_pretrained` of transformers 4


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a converted folder; the arrays are read from disk when they are used.

    Attributes:
        config: of `config.json`.
        arrays: by parameter name, in MLX's layout.
        metadata: of the safetensors file: source, revision, license, dataset, task, trained_on, things.
        preprocessor: of `preprocessor_config.json`; empty if there is no such file.
    """

    config: dict[str, Any]
    arrays: dict[str, mx.array]
    metadata: dict[str, str]
    preprocessor: dict[str, Any]

    @property
    def dataset(self) -> str | None:
        """The dataset that the network was trained on, such as "coco_panoptic"; None if it is not known."""
        return self.metadata.get("dataset")

    @property
    def task(self) -> str | None:
        """The task that the network was trained for, one of `lucid_mlx.datasets.TASKS`; None if it is not known."""
        if self.dataset in DATASETS:
            return dataset_task(self.dataset)
        return self.metadata.get("task")

    @property
    def trained_on(self) -> Literal["images", "clips"]:
        """What the network was trained on: "clips" if each query is one object in all frames, else "images"."""
        return "clips" if self.metadata.get("trained_on") == "clips" else "images"

    @property
    def thing_ids(self) -> frozenset[int] | None:
        """The ids of the classes that have countable instances; None if the checkpoint does not say."""
        things = self.metadata.get("things")
        return None if things is None else frozenset(map(int, things.split()))


def read_safetensors(path: Path) -> tuple[dict[str, mx.array], dict[str, str]]:
    """Open a safetensors file; the arrays are read when they are used.

    The safetensors library first checks the header against the size of the file.

    Args:
        path: of the file.

    Returns:
        The arrays by name, in the shapes that they have in the file, and its metadata.

    Raises:
        InputError: if the file is missing or damaged.
    """
    check_file(path, "a safetensors file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            keys = list(file.keys())
            if any(file.get_slice(key).get_dtype() == "F64" for key in keys):
                # MLX does not read float64, which some buffers in lucid's files are.
                return {key: mx.array(file.get_tensor(key)) for key in keys}, metadata
        arrays = mx.load(str(path), format="safetensors")
    except TypeError as error:  # NumPy lacks some types, such as bfloat16
        raise InputError(f"{path} has float64 beside a type that cannot be read with it: {error}") from error
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged or incomplete: {str(error)[:300]}") from error
    assert isinstance(arrays, dict)
    return arrays, metadata


def read_weight_map(index: Path) -> dict[str, str]:
    """Read the weight map of an index: which file holds each array of a sharded checkpoint.

    Args:
        index: a file such as `model.safetensors.index.json`.

    Returns:
        The name of a file in the same folder for each key.

    Raises:
        InputError: if the file is not an index, or refers to a file in another folder.
    """
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index} has no weight_map")
    for name in set(map(str, weight_map.values())):
        if Path(name).name != name or not name.isprintable() or len(name.encode()) > MAX_FILE_NAME:
            raise InputError(f"{index} refers to {shown(name, 200)}, which is not in the same folder")
    return {key: str(name) for key, name in weight_map.items()}


def is_converted(path: Path) -> bool:
    """Return whether a path is a folder in MLX's layout."""
    return _metadata(path.expanduser()).get("format") == MLX_FORMAT


def _metadata(folder: Path) -> dict[str, str]:
    """Read the metadata of a folder's weights; empty if it has none."""
    file = folder / WEIGHTS_FILE
    if not file.is_file() and (folder / INDEX_FILE).is_file():
        file = folder / next(iter(read_weight_map(folder / INDEX_FILE).values()))
    if not file.is_file():
        return {}
    try:
        with safe_open(file, framework="numpy") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read a converted folder.

    Args:
        path: the folder.

    Returns:
        The checkpoint; its arrays are read from disk when they are used.

    Raises:
        InputError: if it is not a folder, lacks a file, a file is damaged, or the weights are not in MLX's layout.
    """
    folder = local_path(path)
    if not folder.exists():
        raise InputError(f"{folder} does not exist; expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder with {CONFIG_FILE} and {WEIGHTS_FILE}")
    config = read_json(folder / CONFIG_FILE)
    files = [WEIGHTS_FILE]
    if not (folder / WEIGHTS_FILE).exists() and (folder / INDEX_FILE).exists():
        files = sorted(set(read_weight_map(folder / INDEX_FILE).values()))
    arrays: dict[str, mx.array] = {}
    for name in files:
        shard, metadata = read_safetensors(folder / name)
        arrays |= shard
    if metadata.get("format") != MLX_FORMAT:
        raise InputError(
            f"{folder / files[-1]} is not in MLX's layout (its format is {metadata.get('format')!r}); "
            f"convert the folder first: lucid-mlx convert {folder} DEST"
        )
    preprocessor = folder / PREPROCESSOR_FILE
    return Checkpoint(config, arrays, metadata, read_json(preprocessor) if preprocessor.exists() else {})


def write_checkpoint(
    path: str | PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, mx.array],
    metadata: Mapping[str, str],
    preprocessor: Mapping[str, Any],
    card: str = "",
    layout: str = MLX_FORMAT,
    force: bool = False,
) -> Path:
    """Write a checkpoint folder completely or not at all.

    Args:
        path: the folder; it must not exist, or be empty, without `force`.
        config: for `config.json`.
        arrays: by parameter name.
        metadata: for the safetensors file; `format` is added.
        preprocessor: for `preprocessor_config.json`.
        card: for `README.md`, the model card; not written if empty.
        layout: for `format`: "mlx" if the arrays have MLX's layout, "pt" if they have torch's.
        force: replace a folder that was written like this.

    Returns:
        The folder.

    Raises:
        InputError: if the folder may not be replaced, or cannot be written.
    """
    for name, mapping in (
        ("config", config),
        ("arrays", arrays),
        ("metadata", metadata),
        ("preprocessor", preprocessor),
    ):
        check_value(name, mapping, Mapping)
    check_value("the values of arrays", list(arrays.values()), list[mx.array])
    check_value("the keys and values of metadata", [*metadata.keys(), *metadata.values()], list[str])
    folder = local_path(path).resolve()
    ensure_empty(folder, force)
    missing = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        size, free = sum(array.nbytes for array in arrays.values()), shutil.disk_usage(folder.parent).free
        if size > free:
            raise OSError(f"no space left: it takes {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free")
        with temporary_folder(folder.parent) as holder:
            temporary = holder / folder.name
            temporary.mkdir()
            for name, value in ((CONFIG_FILE, config), (PREPROCESSOR_FILE, preprocessor)):
                (temporary / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
            if card:
                (temporary / CARD_FILE).write_text(card, encoding="utf-8")
            _write_arrays(temporary, arrays, {**metadata, "format": layout})
            if folder.exists() and any(folder.iterdir()):
                _exchange(temporary, folder, holder / "replaced")
            else:
                temporary.replace(folder)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    finally:
        for parent in missing:
            with contextlib.suppress(OSError):  # raised for a folder that is not empty
                parent.rmdir()
    return folder


def _write_arrays(folder: Path, arrays: Mapping[str, mx.array], metadata: dict[str, str]) -> None:
    """Write one file, or shards of at most `MAX_SHARD_SIZE` bytes and an index."""
    shards: list[dict[str, mx.array]] = [{}]
    free = MAX_SHARD_SIZE
    for name, array in arrays.items():
        if array.nbytes > free and shards[-1]:
            shards.append({})
            free = MAX_SHARD_SIZE
        shards[-1][name] = array
        free -= array.nbytes
    if len(shards) == 1:
        mx.save_safetensors(str(folder / WEIGHTS_FILE), shards[0], metadata)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        mx.save_safetensors(str(folder / file), shard, metadata)
        weight_map |= dict.fromkeys(shard, file)
    size = sum(array.nbytes for array in arrays.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _exchange(new: Path, folder: Path, old: Path) -> None:
    """Replace a folder by a new one; the old one is back in its place if that fails."""
    folder.replace(old)
    try:
        new.replace(folder)
    except OSError:
        old.replace(folder)
        raise


def ensure_empty(folder: Path, force: bool = False) -> None:
    """Raise an InputError unless a folder does not exist, is empty, or is a converted one that may be replaced.

    Args:
        folder: where to write.
        force: whether a converted folder, with nothing else in it, may be replaced.

    Raises:
        InputError: if something is there that may not be replaced.
    """
    try:
        names = [x.name for x in folder.iterdir()] if folder.is_dir() else []
        taken = bool(names) or (folder.exists() and not folder.is_dir())
    except OSError as error:  # such as a folder that may not be read
        raise InputError(f"{folder} cannot be written: {error}") from error
    if not taken:
        return
    if not force:
        hint = ", or pass --force (in Python force=True) to replace it" if _is_written(folder) else ""
        raise InputError(f"{folder} exists already; choose another destination or remove it first{hint}")
    if not _is_written(folder):
        raise InputError(
            f"{folder} is not a folder that was converted, and is never replaced; choose another destination"
        )
    if foreign := sorted(name for name in names if not _WRITTEN.fullmatch(name)):
        raise InputError(
            f"{folder} also holds {shown(foreign[0])}, which would be lost, and is not replaced; move that file, or "
            "choose another destination"
        )


def _is_written(folder: Path) -> bool:
    """Return whether a folder was converted, to MLX's layout or to transformers'."""
    if not folder.is_dir():
        return False
    try:
        metadata = _metadata(folder)
    except InputError:
        return False
    return metadata.get("format") == MLX_FORMAT or "lucid_mlx" in metadata.get("converter", "")

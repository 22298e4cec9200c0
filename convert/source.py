"""Where a checkpoint lies on disk: a file, or a folder with one, whole or in parts."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx
import yaml

from lucid_mlx.convert.torch_file import read_torch_file
from lucid_mlx.errors import InputError
from lucid_mlx.weights.checkpoint import (
    CARD,
    CONFIG,
    INDEX,
    PREPROCESSOR,
    WEIGHTS,
    parts_of_index,
    read_json,
    read_safetensors,
)

PICKLED = {".bin", ".pth", ".pt", ".pkl"}
SUFFIXES = {".safetensors", *PICKLED}

# What the files of a folder are called, the first that is there counts.
_NAMES = (WEIGHTS, INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Source:
    """An opened checkpoint.

    Attributes:
        name: what to call it.
        arrays: by key; read when they are asked for.
        files: the files that hold them.
        metadata: of a safetensors file.
        folder: the folder, if it was given as one.
        config: the contents of `config.json`, None if there is none.
        preprocessor: the contents of `preprocessor_config.json`.
        labels: names of the classes that the file itself holds.
        license: what the folder's model card says.
    """

    name: str
    arrays: Mapping[str, mx.array]
    files: list[Path]
    metadata: Mapping[str, str]
    folder: Path | None = None
    config: dict[str, Any] | None = None
    preprocessor: dict[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = ()
    license: str | None = None

    def sha256(self) -> str:
        """Return the digest of the file, or of all parts one after the other."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def read_source(path: str | PathLike[str]) -> Source:
    """Open a checkpoint.

    Args:
        path: a .safetensors, .bin, .pth, .pt or .pkl file; or a folder with one, or with an index of parts.

    Raises:
        InputError: if there is no checkpoint, or it is damaged.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a checkpoint file or a folder with one")
    if path.is_file():
        arrays, metadata = _read(path)
        return Source(path.name, arrays, [path], metadata, labels=getattr(arrays, "labels", ()))
    weights = _weights_in(path)
    if weights.name.endswith(".index.json"):
        arrays, files, metadata = _read_parts(weights)
    else:
        (arrays, metadata), files = _read(weights), [weights]
    config = read_json(path / CONFIG) if (path / CONFIG).exists() else None
    preprocessor = read_json(path / PREPROCESSOR) if (path / PREPROCESSOR).exists() else {}
    labels = getattr(arrays, "labels", ())
    return Source(
        path.resolve().name, arrays, files, metadata, path, config, preprocessor, labels, _license(path / CARD)
    )


def _license(card: Path) -> str | None:
    """Read what the head of a model card says of the license."""
    if not card.is_file():
        return None
    from huggingface_hub.repocard import metadata_load

    try:
        license = (metadata_load(card) or {}).get("license")
    except (OSError, ValueError, yaml.YAMLError):  # a card is for people; a broken one stops nothing
        return None
    return license if isinstance(license, str) else None


def _weights_in(folder: Path) -> Path:
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(f"{folder} must hold {WEIGHTS} or a single checkpoint file; found {names}")
    return found[0]


def _read(path: Path) -> tuple[Mapping[str, mx.array], Mapping[str, str]]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix in PICKLED:
        return read_torch_file(path), {}
    raise InputError(f"{path} is of no known kind; expected one of {', '.join(sorted(SUFFIXES))}")


def _read_parts(index: Path) -> tuple[Mapping[str, mx.array], list[Path], Mapping[str, str]]:
    """Open the parts that an index names; they lie beside it, and nowhere else."""
    places = parts_of_index(index)
    opened = {}
    for name in sorted(set(places.values())):
        if not (index.parent / name).is_file():
            raise InputError(f"{index} refers to {name}, which is missing")
        opened[name] = _read(index.parent / name)
    lost = [key for key, name in places.items() if key not in opened[name][0]]
    if lost:
        raise InputError(f"{index} promises {lost[0]} in {places[lost[0]]}, which does not have it")
    metadata = next(iter(opened.values()))[1]
    return _Parts(places, opened), [index.parent / name for name in opened], metadata


class _Parts(Mapping[str, mx.array]):
    """The arrays of several files."""

    def __init__(self, places: Mapping[str, str], parts: Mapping[str, tuple[Mapping[str, mx.array], Any]]):
        self._places, self._parts = places, parts

    def __getitem__(self, key: str) -> mx.array:
        return self._parts[self._places[key]][0][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

"""Open a checkpoint of another system: a file or a folder, in one file or in shards."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.weights_file import find_weights, read_weights_file
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import is_file, read_json, read_text
from lucid_mlx.utils.text import printable
from lucid_mlx.weights.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    WEIGHT_FILES,
    read_weight_map,
)
from lucid_mlx.weights.download import sha256


@dataclass(frozen=True)
class SourceCheckpoint:
    """An opened checkpoint of another system.

    Attributes:
        name: of the file or folder.
        arrays: by the other system's keys, in its layout; read when they are used.
        files: that hold the arrays.
        metadata: of the safetensors file; empty for other files.
        folder: that the checkpoint was opened from; None if it was opened from a file.
        config: of `config.json`; None if there is no such file.
        preprocessor: of `preprocessor_config.json`; empty if there is no such file.
        labels: names of the classes that the weights file holds; empty if it has none.
        license: that the folder's model card names; None if it names none.
        root: the names that all keys of a pickle had in common, such as "state_dict."; they are taken off.
        special: what kind of tensor those are that cannot be read, by key.
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
    root: str = ""
    special: Mapping[str, str] = field(default_factory=dict)

    def sha256(self) -> str:
        """Return the digest of the file, or of all shards one after the other."""
        return sha256(*self.files)


def read_source(path: str | PathLike[str]) -> SourceCheckpoint:
    """Open a checkpoint of another system.

    Args:
        path: a .safetensors, .bin, .pth, .pt, .ckpt or .pkl file; an index of shards; or a folder with one of them.

    Returns:
        The checkpoint; its arrays are read when they are used.

    Raises:
        InputError: if there is no checkpoint, or it is damaged.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a checkpoint file or a folder with one")
    if path.is_dir():
        return _open(path.resolve().name, find_weights(path), path)
    if path.name == CONFIG_FILE:
        raise InputError(
            f"{path} is not a checkpoint file but a configuration; give its folder, or the file of weights"
        )
    # A file with the name that transformers gives it belongs to the configuration beside it.
    standard = path.name in WEIGHT_FILES or path.name.endswith(".index.json")
    folder = path.parent if standard and (path.parent / CONFIG_FILE).is_file() else None
    return _open(path.name, path, folder)


def _open(name: str, weights: Path, folder: Path | None) -> SourceCheckpoint:
    """Open a file of weights or an index, with what lies beside it in a folder."""
    arrays: Mapping[str, mx.array]
    if weights.name.endswith(".index.json"):
        arrays, files, metadata = _read_shards(weights)
    else:
        (arrays, metadata), files = read_weights_file(weights), [weights]
    source = SourceCheckpoint(
        printable(name),
        arrays,
        files,
        metadata,
        labels=getattr(arrays, "labels", ()),
        root=getattr(arrays, "root", ""),
        special=getattr(arrays, "special", {}),
    )
    if folder is None:
        return source
    config, preprocessor = folder / CONFIG_FILE, folder / PREPROCESSOR_FILE
    return replace(
        source,
        folder=folder,
        config=read_json(config) if config.exists() else None,
        preprocessor=read_json(preprocessor) if preprocessor.exists() else {},
        license=_read_license(folder / CARD_FILE),
    )


def _read_license(card: Path) -> str | None:
    """Read the license from the metadata of a model card; "other" if it is no word of the hub's."""
    try:
        text = read_text(card, "a model card")
    except InputError:  # weights can be converted without a card
        return None
    head = re.match(r"[\ufeff\s]*---\n(.*?)\n---", text, re.DOTALL)
    line = head and re.search(r"^license:[ \t]*(\S.*)", head[1], re.MULTILINE)
    if not line:
        return None
    word = re.fullmatch(r"""(["']?)([A-Za-z0-9_.+-]{1,64})\1\s*(#.*)?""", line[1])
    return word[2] if word else "other"


def _read_shards(index: Path) -> tuple[Mapping[str, mx.array], list[Path], Mapping[str, str]]:
    """Open the shards of an index, which are in the same folder; return arrays, files and metadata."""
    weight_map = read_weight_map(index)
    shards = {}
    names = sorted(set(weight_map.values()))
    if missing := [name for name in names if not is_file(index.parent / name)]:
        more = f", and so are {len(missing) - 1} more of its {len(names)} files" if missing[1:] else ""
        raise InputError(f"{index} refers to {missing[0][:200]}, which is missing{more}; download them again")
    for name in names:
        shards[name] = read_weights_file(index.parent / name)
    for key, name in weight_map.items():
        if key not in shards[name][0]:
            raise InputError(f"{index} lists {key} in {name}, which does not have it")
    metadata = next(iter(shards.values()))[1]
    arrays = _ShardedArrays(weight_map, {name: shard for name, (shard, _) in shards.items()})
    return arrays, [index.parent / name for name in shards], metadata


class _ShardedArrays(Mapping[str, mx.array]):
    """The arrays of several files."""

    def __init__(self, weight_map: Mapping[str, str], shards: Mapping[str, Mapping[str, mx.array]]):
        self._weight_map, self._shards = weight_map, shards

    def __getitem__(self, key: str) -> mx.array:
        return self._shards[self._weight_map[key]][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weight_map)

    def __len__(self) -> int:
        return len(self._weight_map)

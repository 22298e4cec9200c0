"""Checkpoint files written by `torch.save`, in its zip format and the one before it, and detectron2's pickles.

Nothing in them is run (see `safe_pickle`), and each tensor is read when it is asked for.
"""

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from lucid_mlx.convert.safe_pickle import PickledArray, SafeUnpickler, Storage, StorageType, TensorEntry
from lucid_mlx.errors import InputError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

Starts = Mapping[str, int]


class LazyArrays(Mapping[str, mx.array]):
    """Arrays by name; each is read from the file when it is asked for, but for a plain pickle's, which are read.

    Attributes:
        labels: names of the classes, if the trainer stored them.
    """

    def __init__(self, path: Path, entries: Mapping[str, TensorEntry | mx.array], starts: Starts, labels: list[str]):
        """Take where each storage's numbers start in the file, in bytes."""
        self._path, self._entries, self._starts = path, entries, starts
        self.labels = labels

    def __getitem__(self, key: str) -> mx.array:
        entry = self._entries[key]
        if isinstance(entry, mx.array):
            return entry
        try:
            return _array(key, entry, self._path, self._starts)
        except InputError as error:
            raise InputError(f"{self._path}: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def read_torch_file(path: Path) -> LazyArrays:
    """Open a .bin, .pth, .pt or .pkl file.

    Args:
        path: a file of torch's zip format, its older format, or a plain pickle of arrays.

    Returns:
        The tensors of its state dict, by name. If the file nests it, as trainers do, it is found under
        `state_dict`, `model` or `model_state`.

    Raises:
        InputError: if the file is damaged, compressed, no checkpoint, or asks for anything but tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            tree, starts = _open_zip(path)
        else:
            tree, starts = _open_stream(path)
        labels = _labels(tree)
        return LazyArrays(path, _state_dict(tree), starts, labels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can raise nearly everything
        raise InputError(f"{path} is damaged, or no checkpoint: {type(error).__name__}: {error}") from None


def _labels(tree: Any) -> list[str]:
    """Find the names of the classes where OpenMMLab's trainers put them; none if they are not there."""
    meta = tree.get("meta") if isinstance(tree, Mapping) else None
    if not isinstance(meta, Mapping):
        return []
    dataset = meta.get("dataset_meta")  # since MMDetection 3
    for holder in (dataset, meta):
        names = (holder.get("classes") or holder.get("CLASSES")) if isinstance(holder, Mapping) else None
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return list(names)
    return []


def _state_dict(tree: Any) -> dict[str, TensorEntry | mx.array]:
    """Find the dictionary of tensors in what a trainer saved; arrays are taken out of it one by one."""
    for name in ("state_dict", "model", "model_state"):
        if isinstance(tree, dict) and isinstance(tree.get(name), dict):
            tree = tree[name]
    if not isinstance(tree, dict):
        raise InputError(f"it holds a {type(tree).__name__}, expected a dictionary of tensors")
    entries: dict[str, TensorEntry | mx.array] = {}
    for key in list(tree):
        value = tree[key]
        if isinstance(value, PickledArray) and value.dtype.kind in "fiub":
            entries[key] = mx.array(value.numpy())
            tree[key] = None  # or all would be in memory twice
        elif isinstance(value, TensorEntry):
            entries[key] = value
    if not entries or not all(isinstance(key, str) for key in entries):
        raise InputError("it holds no dictionary of named tensors")
    return entries


def _open_zip(path: Path) -> tuple[Any, Starts]:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise InputError("two entries of the archive have the same name")
        for info in members.values():
            # torch stores without compression; what unpacks to more than the file is no checkpoint.
            if info.compress_type != zipfile.ZIP_STORED or info.header_offset + info.file_size > size:
                raise InputError(f"the entry {info.filename} is compressed or cut off, which torch's never are")
        pickles = [name for name in members if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickles) != 1:
            raise InputError("the archive has no data.pkl, so torch did not write it")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise InputError("the numbers in the file are big-endian, which is not supported")
        starts = {
            name.removeprefix(f"{root}data/"): _start(file, info)
            for name, info in members.items()
            if name.startswith(f"{root}data/")
        }
        with archive.open(pickles[0]) as pickled:
            return SafeUnpickler(pickled, _storage).load(), starts


def _start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Find where an entry's bytes start: behind a header of 30 bytes, its name and what pads it."""
    file.seek(info.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + int(name) + int(extra)


def _open_stream(path: Path) -> tuple[Any, Starts]:
    with path.open("rb") as file:
        first = SafeUnpickler(file, _storage).load()
        if first != LEGACY_MAGIC:
            return first, {}
        SafeUnpickler(file).load()  # version of the format
        system = SafeUnpickler(file).load()
        if not system.get("little_endian", True):
            raise InputError("the numbers in the file are big-endian, which is not supported")
        storages: dict[str, Storage] = {}

        def storage(pid: Any) -> Storage:
            found = _storage(pid)
            return storages.setdefault(found.key, found)

        tree = SafeUnpickler(file, storage).load()
        return tree, _legacy_starts(file, SafeUnpickler(file).load(), storages)


def _legacy_starts(file: BinaryIO, keys: list[str], storages: Mapping[str, Storage]) -> dict[str, int]:
    """Find where each storage's numbers lie: one after the other, each behind its 8-byte count."""
    starts = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        starts[key] = file.tell()
        file.seek(count * _item_size(storages[key].dtype), 1)
    return starts


def _storage(pid: Any) -> Storage:
    """Read ("storage", type, key, location, count[, view]) as torch writes it."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], StorageType)):
        raise InputError("the pickle refers to something that is no torch storage")
    return Storage(str(pid[2]), pid[1].dtype, int(pid[4]))


def _item_size(dtype: str) -> int:
    return getattr(mx, dtype).size


def _array(key: str, entry: TensorEntry, path: Path, starts: Starts) -> mx.array:
    """Read the part of a storage that a tensor covers."""
    size = _item_size(entry.storage.dtype)
    extent = 1 + sum((n - 1) * stride for n, stride in zip(entry.shape, entry.strides, strict=True))
    if 0 in entry.shape:
        return mx.zeros(entry.shape, getattr(mx, entry.storage.dtype))
    if entry.offset < 0 or min((0, *entry.strides)) < 0 or entry.offset + extent > entry.storage.count:
        raise InputError(f"{key} reaches beyond its storage")
    if entry.storage.key not in starts:
        raise InputError(f"the file lacks the numbers of {key}")
    with path.open("rb") as file:
        file.seek(starts[entry.storage.key] + entry.offset * size)
        data = file.read(extent * size)
    if len(data) != extent * size:
        raise InputError(f"{key} is cut off: the file ends too early")
    plain = "uint16" if entry.storage.dtype == "bfloat16" else entry.storage.dtype
    flat = np.frombuffer(data, np.dtype(getattr(np, plain)))
    strides = tuple(stride * size for stride in entry.strides)
    array = mx.array(np.lib.stride_tricks.as_strided(flat, entry.shape, strides, writeable=False))
    return array.view(mx.bfloat16) if entry.storage.dtype == "bfloat16" else array

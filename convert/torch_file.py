"""Read files of `torch.save`, in its zip format and its older format, and detectron2's pickles of arrays.

No code in them is run (see `safe_pickle`), and each tensor is read when it is used.
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

Offsets = Mapping[str, int]
"""Where the data of each storage start in the file, in bytes."""


class LazyStateDict(Mapping[str, mx.array]):
    """A state dict whose tensors are read from the file when they are used; arrays of a plain pickle are in memory.

    Args:
        path: of the file.
        entries: the tensors by key, or arrays in memory.
        offsets: where the data of each storage start.
        labels: names of the classes that the trainer stored.

    Attributes:
        labels: names of the classes that the trainer stored; empty if it stored none.
    """

    def __init__(self, path: Path, entries: Mapping[str, TensorEntry | mx.array], offsets: Offsets, labels: list[str]):
        self._path, self._entries, self._offsets = path, entries, offsets
        self.labels = labels

    def __getitem__(self, key: str) -> mx.array:
        entry = self._entries[key]
        if isinstance(entry, mx.array):
            return entry
        try:
            return _read_tensor(key, entry, self._path, self._offsets)
        except InputError as error:
            raise InputError(f"{self._path}: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def read_torch_file(path: Path) -> LazyStateDict:
    """Open a .bin, .pth, .pt or .pkl file.

    Args:
        path: a file of torch's zip format, of its older format, or a plain pickle of arrays.

    Returns:
        The state dict of the file. Trainers nest it under `state_dict`, `model` or `model_state`.

    Raises:
        InputError: if the file is damaged, compressed, not a checkpoint, or needs other objects than tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            tree, offsets = _open_zip(path)
        else:
            tree, offsets = _open_pickle(path)
        labels = _find_labels(tree)
        return LazyStateDict(path, _find_state_dict(tree), offsets, labels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can raise nearly everything
        raise InputError(f"{path} is damaged, or not a checkpoint: {type(error).__name__}: {error}") from None


def _find_labels(tree: Any) -> list[str]:
    """Find the names of the classes where OpenMMLab's trainers store them; return an empty list without them."""
    meta = tree.get("meta") if isinstance(tree, Mapping) else None
    if not isinstance(meta, Mapping):
        return []
    dataset = meta.get("dataset_meta")  # since MMDetection 3
    for holder in (dataset, meta):
        names = (holder.get("classes") or holder.get("CLASSES")) if isinstance(holder, Mapping) else None
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return list(names)
    return []


def _find_state_dict(tree: Any) -> dict[str, TensorEntry | mx.array]:
    """Find the state dict in what a trainer saved; arrays are removed from it one by one."""
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
            tree[key] = None  # otherwise all arrays would be in memory twice
        elif isinstance(value, TensorEntry):
            entries[key] = value
    if not entries or not all(isinstance(key, str) for key in entries):
        raise InputError("it does not hold a dictionary of named tensors")
    return entries


def _open_zip(path: Path) -> tuple[Any, Offsets]:
    """Open torch's zip format: a pickle, and an entry for each storage."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise InputError("two entries of the archive have the same name")
        for info in members.values():
            # torch does not compress. An archive that unpacks to more than its size is not a checkpoint.
            if info.compress_type != zipfile.ZIP_STORED or info.header_offset + info.file_size > size:
                raise InputError(f"the entry {info.filename} is compressed or cut off, which torch never writes")
        pickles = [name for name in members if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickles) != 1:
            raise InputError("the archive has no data.pkl, so torch did not write it")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise InputError("the data in the file are big-endian, which is not supported")
        offsets = {
            name.removeprefix(f"{root}data/"): _data_offset(file, info)
            for name, info in members.items()
            if name.startswith(f"{root}data/")
        }
        with archive.open(pickles[0]) as pickled:
            return SafeUnpickler(pickled, _parse_storage).load(), offsets


def _data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Find where the data of an entry start: after a header of 30 bytes, the name and an extra field."""
    file.seek(info.header_offset + 26)
    name_size, extra_size = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + int(name_size) + int(extra_size)


def _open_pickle(path: Path) -> tuple[Any, Offsets]:
    """Open torch's older format, which is a sequence of pickles and then the data; or a plain pickle."""
    with path.open("rb") as file:
        first = SafeUnpickler(file, _parse_storage).load()
        if first != LEGACY_MAGIC:
            return first, {}
        SafeUnpickler(file).load()  # version of the format
        system = SafeUnpickler(file).load()
        if not system.get("little_endian", True):
            raise InputError("the data in the file are big-endian, which is not supported")
        storages: dict[str, Storage] = {}

        def parse_storage(pid: Any) -> Storage:
            found = _parse_storage(pid)
            return storages.setdefault(found.key, found)

        tree = SafeUnpickler(file, parse_storage).load()
        return tree, _legacy_offsets(file, SafeUnpickler(file).load(), storages)


def _legacy_offsets(file: BinaryIO, keys: list[str], storages: Mapping[str, Storage]) -> dict[str, int]:
    """Find where the data of each storage start: they follow one another, each after 8 bytes with its size."""
    offsets = {}
    for key in keys:
        size = int.from_bytes(file.read(8), "little")
        offsets[key] = file.tell()
        file.seek(size * _item_size(storages[key].dtype), 1)
    return offsets


def _parse_storage(pid: Any) -> Storage:
    """Parse torch's persistent id: ("storage", type, key, location, size[, view])."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], StorageType)):
        raise InputError("the pickle refers to something that is not a torch storage")
    return Storage(str(pid[2]), pid[1].dtype, int(pid[4]))


def _item_size(dtype: str) -> int:
    return getattr(mx, dtype).size


def _read_tensor(key: str, entry: TensorEntry, path: Path, offsets: Offsets) -> mx.array:
    """Read a tensor from its storage in the file."""
    item_size = _item_size(entry.storage.dtype)
    extent = 1 + sum((n - 1) * stride for n, stride in zip(entry.shape, entry.strides, strict=True))
    if 0 in entry.shape:
        return mx.zeros(entry.shape, getattr(mx, entry.storage.dtype))
    if entry.offset < 0 or min((0, *entry.strides)) < 0 or entry.offset + extent > entry.storage.size:
        raise InputError(f"{key} reaches beyond its storage")
    if entry.storage.key not in offsets:
        raise InputError(f"the file lacks the data of {key}")
    with path.open("rb") as file:
        file.seek(offsets[entry.storage.key] + entry.offset * item_size)
        data = file.read(extent * item_size)
    if len(data) != extent * item_size:
        raise InputError(f"{key} is cut off: the file ends too early")
    numpy_dtype = "uint16" if entry.storage.dtype == "bfloat16" else entry.storage.dtype
    flat = np.frombuffer(data, np.dtype(getattr(np, numpy_dtype)))
    strides = tuple(stride * item_size for stride in entry.strides)
    array = mx.array(np.lib.stride_tricks.as_strided(flat, entry.shape, strides, writeable=False))
    return array.view(mx.bfloat16) if entry.storage.dtype == "bfloat16" else array

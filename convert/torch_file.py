"""Read files of `torch.save`, in its zip format and its older format, and detectron2's pickles of arrays.

No code in them is run (see `safe_pickle`), and each tensor is read when it is used.
"""

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.convert.pickled_objects import Name, Storage, TensorEntry, Unknown, parse_storage
from lucid_mlx.convert.safe_pickle import read_pickle
from lucid_mlx.convert.tensor_tree import FoundTensors, find_tensors
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_file
from lucid_mlx.utils.text import printable, shown

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

MAX_PICKLE_BYTES = 100 << 20  # of the description of the tensors in an archive


class Extent(NamedTuple):
    """Where the data of a storage lie in the file.

    Attributes:
        start: of the first byte.
        size: number of bytes.
    """

    start: int
    size: int


Extents = Mapping[str, Extent]
"""Where the data of each storage lie, by the storage's key."""


class LazyStateDict(Mapping[str, mx.array]):
    """A state dict whose tensors are read from the file when they are used; arrays of a plain pickle are in memory.

    Args:
        path: of the file.
        found: the tensors by key, or arrays in memory.
        extents: where the data of each storage lie.
        labels: names of the classes that the trainer stored.

    Attributes:
        labels: names of the classes that the trainer stored; empty if it stored none.
        root: the names that all keys had in common in the file, such as "state_dict."; they are taken off.
        special: what kind of tensor those are that cannot be read.
    """

    def __init__(self, path: Path, found: FoundTensors, extents: Extents, labels: list[str]):
        self._path, self._entries, self._extents = path, found.entries, extents
        self.labels, self.root, self.special = labels, found.root, found.special

    def __getitem__(self, key: str) -> mx.array:
        entry = self._entries[key]
        if isinstance(entry, mx.array):
            return entry
        try:
            return _read_tensor(key, entry, self._path, self._extents)
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
        All named tensors of the file; the names of the dictionaries that hold them are part of their keys.

    Raises:
        InputError: if the file is damaged, compressed, not a checkpoint, or needs other objects than tensors.
    """
    check_file(path, "a checkpoint")
    try:
        tree, extents = _open_zip(path) if zipfile.is_zipfile(path) else _open_pickle(path)
        labels = _find_labels(tree)
        return LazyStateDict(path, find_tensors(tree, path.stat().st_size), extents, labels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can raise nearly everything
        problem = f"{type(error).__name__}: {shown(str(error), 200)}"
        raise InputError(f"{path} is damaged, or not a checkpoint: {problem}") from None


# Where trainers store the names of the classes, and under which names.
_LABEL_HOLDERS = ("dataset_meta", "meta", "hyper_parameters", "hparams", "config", "args")
_LABEL_NAMES = ("classes", "CLASSES", "class_names", "id2label")


def _find_labels(tree: Any, depth: int = 0) -> list[str]:
    """Find the names of the classes where trainers store them; return an empty list without them."""
    if not isinstance(tree, dict | Unknown):
        return []
    for name in _LABEL_HOLDERS if depth < 3 else ():
        if found := _find_labels(tree.get(name), depth + 1):
            return found
    for name in _LABEL_NAMES:
        names: Any = tree.get(name)
        if isinstance(names, dict) and all(type(number) is int for number in names):
            names = [names[number] for number in sorted(names)]
        if isinstance(names, list | tuple) and names and all(isinstance(x, str) for x in names):
            return list(names)
    return []


def _open_zip(path: Path) -> tuple[Any, Extents]:
    """Open torch's zip format: a pickle, and an entry for each storage."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise InputError("two entries of the archive have the same name")
        if any("/code/__torch__" in name for name in members):
            raise InputError(
                "it is a TorchScript program, which is never run; save the weights alone: "
                "torch.save(torch.jit.load(PATH).state_dict(), ...)"
            )
        for info in members.values():
            # torch does not compress. An archive that unpacks to more than its size is not a checkpoint.
            if info.compress_type != zipfile.ZIP_STORED or info.header_offset + info.file_size > size:
                name = printable(info.filename)
                raise InputError(f"the entry {name} is compressed or cut off, which torch never writes")
        pickles = [name for name in members if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickles) != 1:
            inside = ", ".join(shown(name, 80)[1:-1] for name in list(members)[:3]) or "nothing"
            raise InputError(f"it is an archive, not written by torch, of {inside}: unpack it, and give what is in it")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise InputError("the data in the file are big-endian, which is not supported")
        extents = {
            name.removeprefix(f"{root}data/"): Extent(_data_start(file, info), info.file_size)
            for name, info in members.items()
            if name.startswith(f"{root}data/")
        }
        if members[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise InputError(f"its data.pkl has more than {MAX_PICKLE_BYTES} bytes; expected a list of tensors")
        pickled = archive.read(pickles[0])
        return read_pickle(io.BytesIO(pickled), len(pickled), parse_storage), extents


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Find where the data of an entry start: after a header of 30 bytes, the name and an extra field."""
    file.seek(info.header_offset + 26)
    name_size, extra_size = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + int(name_size) + int(extra_size)


def _open_pickle(path: Path) -> tuple[Any, Extents]:
    """Open torch's older format, which is a sequence of pickles and then the data; or a plain pickle."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise InputError("it is damaged or incomplete: the archive has no end; copy or download it again")
        file.seek(0)
        first = read_pickle(file, size, parse_storage)
        if type(first) is not int or first != LEGACY_MAGIC:
            return first, {}
        read_pickle(file, size)  # version of the format
        system = read_pickle(file, size)
        if not isinstance(system, dict) or system.get("little_endian", True) is not True:
            raise InputError("the data in the file are big-endian, which is not supported")
        storages: dict[str, Storage] = {}

        def parse(pid: Any) -> Storage | Name:
            if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module" and isinstance(pid[1], Name):
                return pid[1]  # the class of a whole model; its source code follows
            found = parse_storage(pid)
            return storages.setdefault(found.key, found)

        tree = read_pickle(file, size, parse)
        return tree, _legacy_extents(file, size, read_pickle(file, size), storages)


def _legacy_extents(file: BinaryIO, size: int, keys: Any, storages: Mapping[str, Storage]) -> dict[str, Extent]:
    """Find where the data of each storage lie: they follow one another, each after 8 bytes with its size."""
    extents: dict[str, Extent] = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages or key in extents:
            raise InputError("its list of storages does not fit its tensors")
        length = int.from_bytes(file.read(8), "little") * storages[key].item_size
        extents[key] = Extent(file.tell(), min(length, size - file.tell()))
        file.seek(extents[key].size, 1)
    return extents


def _read_tensor(key: str, entry: TensorEntry, path: Path, extents: Extents) -> mx.array:
    """Read a tensor from its storage in the file."""
    key = printable(key[:200])
    item_size = entry.storage.item_size
    if min((entry.offset, *entry.shape, *entry.strides)) < 0:
        raise InputError(f"{key} reaches beyond its storage")
    if max((0, *entry.shape)) >= 2**31:
        raise InputError(f"{key} has a side of 2^31 or more")
    if 0 in entry.shape:
        return mx.zeros(entry.shape, getattr(mx, entry.storage.dtype))
    length = 1 + sum((n - 1) * stride for n, stride in zip(entry.shape, entry.strides, strict=True))
    if entry.offset + length > entry.storage.size:
        raise InputError(f"{key} reaches beyond its storage")
    if entry.storage.key not in extents:
        raise InputError(f"the file lacks the data of {key}")
    start, size = extents[entry.storage.key]
    if (entry.offset + length) * item_size > size:
        raise InputError(f"{key} is cut off: the file ends too early")
    with path.open("rb") as file:
        file.seek(start + entry.offset * item_size)
        data = file.read(length * item_size)
    if len(data) != length * item_size:
        raise InputError(f"{key} is cut off: the file ends too early")
    numpy_dtype = "uint16" if entry.storage.dtype == "bfloat16" else entry.storage.dtype
    flat = np.frombuffer(data, np.dtype(getattr(np, numpy_dtype)))
    strides = tuple(stride * item_size if n > 1 else 0 for n, stride in zip(entry.shape, entry.strides, strict=True))
    array = mx.array(np.lib.stride_tricks.as_strided(flat, entry.shape, strides, writeable=False))
    return array.view(mx.bfloat16) if entry.storage.dtype == "bfloat16" else array

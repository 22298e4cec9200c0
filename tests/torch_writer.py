"""Write files as torch.save does, without torch: its zip format, its legacy format, and what a trainer puts beside."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "complex64": "ComplexFloatStorage",
}


class Module:
    """Stands for an object of a class of the trainer's: pickled with these attributes."""

    def __init__(self, **attributes: Any):
        self.__dict__.update(attributes)


class _Writer:
    """Writes the pickle of nested dictionaries, modules and arrays; other objects as Python pickles them."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def dump(self, value: Any) -> bytes:
        return b"\x80\x02" + self._value(value) + b"."

    def _value(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray) and str(value.dtype) in STORAGES:
            return self._tensor(value)
        if type(value) is dict:
            items = b"".join(self._value(key) + self._value(x) for key, x in value.items())
            return b"}(" + items + b"u"
        if type(value) in (list, tuple):
            return b"(" + b"".join(map(self._value, value)) + (b"l" if type(value) is list else b"t")
        if isinstance(value, Module):
            return b"ctrainer.networks\nNetwork\n)\x81" + self._value(vars(value)) + b"b"
        return pickle.dumps(value, 2)[2:-1]

    def _tensor(self, array: np.ndarray) -> bytes:
        number = len(self.arrays)
        self.arrays.append(array)
        storage = (
            b"(U\x07storagectorch\n" + STORAGES[str(array.dtype)].encode() + b"\n"
            + self._value(str(number)) + b"U\x03cpu" + self._value(array.size) + b"tQ"
        )  # fmt: skip
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).strides)
        shape = self._value(tuple(map(int, array.shape))) + self._value(strides)
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n("
            + storage
            + b"K\x00"
            + shape
            + b"\x89ccollections\nOrderedDict\n)RtR"
        )


def save_zip(tree: Any, path: Path) -> Path:
    """Write torch's zip format."""
    writer = _Writer()
    pickled = writer.dump(tree)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for number, array in enumerate(writer.arrays):
            archive.writestr(f"archive/data/{number}", array.tobytes())
    return path


def save_legacy(tree: Any, path: Path) -> Path:
    """Write the format of `_use_new_zipfile_serialization=False`."""
    writer = _Writer()
    pickled = writer.dump(tree)
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    with path.open("wb") as file:
        for value in head:
            file.write(pickle.dumps(value, 2))
        file.write(pickled)
        file.write(pickle.dumps([str(number) for number in range(len(writer.arrays))], 2))
        for array in writer.arrays:
            file.write(struct.pack("<q", array.size) + array.tobytes())
    return path

"""Pickles as data: an unpickler that knows what a state dict is made of, and refuses everything else by name.

A pickle is a program. What it may call here are the stand-ins below, which build containers and descriptions of
tensors; a name outside the list stops it before anything of that name is looked up.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from lucid_mlx.errors import InputError


@dataclass(frozen=True)
class StorageType:
    """The element type that a torch storage class stands for, by MLX's name; numpy has no bfloat16."""

    dtype: str


@dataclass(frozen=True)
class Storage:
    """A storage in the file, not read yet."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies in its storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Opaque:
    """Stands for an object whose contents nobody needs, such as a device."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool_",
}


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> TensorEntry:
    if not isinstance(storage, Storage):
        raise InputError("the pickle builds a tensor from something that is no storage")
    return TensorEntry(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _array(*args: Any) -> np.ndarray:
    return np.ndarray((0,))  # what numpy's own reconstruction starts from; the contents follow as its state


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): Opaque,
    ("torch.serialization", "_get_layout"): Opaque,
    **{("torch", name): StorageType(dtype) for name, dtype in STORAGES.items()},
    **{
        (module, name): value
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric")
        for name, value in {"ndarray": Opaque, "dtype": np.dtype, "_reconstruct": _array, "scalar": Opaque}.items()
    },
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),  # how Python 3 writes Python 2's bytes
}


class SafeUnpickler(pickle.Unpickler):
    """An unpickler of state dicts.

    Args:
        file: the stream; it is read up to the end of one pickle.
        storage: makes a `Storage` from a torch persistent id.
    """

    def __init__(self, file: IO[bytes], storage: Callable[[Any], Storage] | None = None):
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in of the list."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise InputError(
                f"the pickle asks for {module}.{name}, which no state dict needs; it was refused and nothing was run"
            ) from None

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that a torch pickle refers to."""
        if self._storage is None:
            raise InputError("the pickle refers to data that this kind of file cannot hold")
        return self._storage(pid)

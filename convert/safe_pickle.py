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


class PickledArray:
    """A numpy array as it lies in the pickle: its bytes are not copied before they are wanted.

    Older protocols build an empty array and set its state; protocol 5 hands over a buffer.
    """

    def __init__(self, *args: Any):
        self.data: bytes | bytearray = b""
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.shape: tuple[int, ...] = (0,)
        self.fortran = False

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, self.fortran, data = state
        self._set(data, dtype, shape)

    @classmethod
    def from_buffer(cls, data: Any, dtype: Any, shape: Any, order: Any) -> "PickledArray":
        """Stand for numpy's function of that name."""
        array = cls()
        array.fortran = order == "F"
        array._set(data, dtype, shape)
        return array

    def _set(self, data: Any, dtype: Any, shape: Any) -> None:
        self.shape = tuple(map(int, shape))
        if isinstance(dtype, np.dtype) and dtype.kind in "fiub" and isinstance(data, str | bytes | bytearray):
            self.dtype, self.data = dtype, data.encode("latin1") if isinstance(data, str) else data
        else:  # objects and texts are no tensors
            self.dtype = np.dtype(object)

    def numpy(self) -> np.ndarray:
        """Return the array, a view of the bytes where that is possible."""
        flat = np.frombuffer(self.data, self.dtype)
        array = flat.reshape(self.shape, order="F" if self.fortran else "C")
        return array.astype(self.dtype.newbyteorder("="), copy=False)


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
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name, value in {
            "ndarray": Opaque,
            "dtype": np.dtype,
            "_reconstruct": PickledArray,
            "scalar": Opaque,
        }.items()
    },
    ("numpy.core.numeric", "_frombuffer"): PickledArray.from_buffer,
    ("numpy._core.numeric", "_frombuffer"): PickledArray.from_buffer,
    ("mmengine.logging.history_buffer", "HistoryBuffer"): Opaque,  # the loss curves of OpenMMLab's trainer
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

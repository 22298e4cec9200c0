"""An unpickler that loads state dicts without running code, and refuses everything else by name.

A pickle is a program that calls functions by name. Here it can call the replacements below, which build containers and
descriptions of tensors. Any other name is refused before it is imported.
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
    """Replaces a torch storage class; `dtype` is MLX's name of its element type, since NumPy has no bfloat16."""

    dtype: str


@dataclass(frozen=True)
class Storage:
    """A torch storage in the file, whose data are not read yet.

    Attributes:
        key: its name in the file.
        dtype: MLX's name of the element type.
        size: number of elements.
    """

    key: str
    dtype: str
    size: int


@dataclass(frozen=True)
class TensorEntry:
    """A torch tensor in the file, whose data are not read yet.

    Attributes:
        storage: that holds its data.
        offset: of the first element in the storage, in elements.
        shape: of the tensor.
        strides: of the tensor, in elements.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Placeholder:
    """Replaces an object that a state dict does not need, such as a device."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


STORAGE_DTYPES = {
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


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> TensorEntry:
    if not isinstance(storage, Storage):
        raise InputError("the pickle builds a tensor from something that is not a storage")
    return TensorEntry(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


class PickledArray:
    """Replaces a NumPy array; its data are not copied before `numpy` is called.

    Older protocols of pickle build an empty array and set its state; protocol 5 passes a buffer.

    Args:
        *args: those of NumPy's function `_reconstruct`, which are ignored.

    Attributes:
        data: the bytes of the elements.
        dtype: of the elements.
        shape: of the array.
        fortran_order: whether the first axis is contiguous.
    """

    def __init__(self, *args: Any):
        self.data: bytes | bytearray = b""
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.shape: tuple[int, ...] = (0,)
        self.fortran_order = False

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, self.fortran_order, data = state
        self._set(data, dtype, shape)

    @classmethod
    def from_buffer(cls, data: Any, dtype: Any, shape: Any, order: Any) -> "PickledArray":
        """Replace NumPy's function `_frombuffer`.

        Args:
            data: the bytes of the elements.
            dtype: of the elements.
            shape: of the array.
            order: "F" if the first axis is contiguous, otherwise "C".

        Returns:
            The replacement of the array.
        """
        array = cls()
        array.fortran_order = order == "F"
        array._set(data, dtype, shape)
        return array

    def _set(self, data: Any, dtype: Any, shape: Any) -> None:
        self.shape = tuple(map(int, shape))
        if isinstance(dtype, np.dtype) and dtype.kind in "fiub" and isinstance(data, str | bytes | bytearray):
            self.dtype, self.data = dtype, data.encode("latin1") if isinstance(data, str) else data
        else:  # arrays of objects or strings are not tensors
            self.dtype = np.dtype(object)

    def numpy(self) -> np.ndarray:
        """Return the array, of the shape and dtype in the pickle; it is a view of the bytes if possible."""
        flat = np.frombuffer(self.data, self.dtype)
        array = flat.reshape(self.shape, order="F" if self.fortran_order else "C")
        return array.astype(self.dtype.newbyteorder("="), copy=False)


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): Placeholder,
    ("torch.serialization", "_get_layout"): Placeholder,
    **{("torch", name): StorageType(dtype) for name, dtype in STORAGE_DTYPES.items()},
    **{
        (module, name): value
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name, value in {
            "ndarray": Placeholder,
            "dtype": np.dtype,
            "_reconstruct": PickledArray,
            "scalar": Placeholder,
        }.items()
    },
    ("numpy.core.numeric", "_frombuffer"): PickledArray.from_buffer,
    ("numpy._core.numeric", "_frombuffer"): PickledArray.from_buffer,
    ("mmengine.logging.history_buffer", "HistoryBuffer"): Placeholder,  # the loss curves of OpenMMLab's trainer
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),  # how Python 3 pickles bytes for Python 2
}


class SafeUnpickler(pickle.Unpickler):
    """An unpickler of state dicts.

    Args:
        file: to read one pickle from.
        parse_storage: makes a `Storage` from torch's persistent id; None if the pickle must not refer to storages.
    """

    def __init__(self, file: IO[bytes], parse_storage: Callable[[Any], Storage] | None = None):
        super().__init__(file, encoding="latin1")
        self._parse_storage = parse_storage

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a class or function.

        Args:
            module: of the class or function.
            name: of the class or function.

        Returns:
            The replacement in `ALLOWED`.

        Raises:
            InputError: if there is none.
        """
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise InputError(
                f"the pickle asks for {module}.{name}, which no state dict needs; it was refused and nothing was run"
            ) from None

    def persistent_load(self, pid: Any) -> Storage:
        """Return the storage that a torch pickle refers to."""
        if self._parse_storage is None:
            raise InputError("the pickle refers to data that this kind of file cannot hold")
        return self._parse_storage(pid)

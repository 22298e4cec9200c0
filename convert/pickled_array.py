"""NumPy arrays as a pickle describes them; every number is checked before NumPy sees it."""

import math
import re
from typing import Any

import numpy as np

from lucid_mlx.errors import InputError

MAX_DIMENSIONS = 32
_NUMBER = re.compile("f[248]|[iu][1248]|b1|[?]")


class PickledDtype:
    """The type of an array's elements, as text.

    Args:
        code: NumPy's code of the type, such as "f4".
        *rest: NumPy's other arguments, which pickles do not vary.
    """

    def __init__(self, code: Any, *rest: Any):
        self._code, self._order, self._plain = code, "<", True

    def set_state(self, state: Any) -> None:
        """Set the order of bytes.

        Args:
            state: NumPy's: version, order, and three that are None for numbers: the type and shape of a subarray, names
                and fields of a structure.
        """
        _, self._order, *structure = state[:5]
        self._plain = all(x is None for x in structure)

    def numpy(self) -> np.dtype[Any] | None:
        """Look the type up among those of numbers.

        Returns:
            The type; None if its elements are not numbers.

        Raises:
            InputError: if they are structures or arrays themselves.
        """
        if not self._plain:
            raise InputError("an array has elements of several numbers, which no tensor has")
        if not isinstance(self._code, str) or not _NUMBER.fullmatch(self._code):
            return None
        return np.dtype((">" if self._order == ">" else "<") + self._code)


class PickledArray:
    """An array in memory, which is not copied before `numpy` is called.

    Older protocols of pickle build an empty array and set its state; protocol 5 passes a buffer.
    """

    def __init__(self) -> None:
        self._data: Any = b""
        self._dtype: Any = None
        self._shape: Any = (0,)
        self._fortran_order = False

    @classmethod
    def from_buffer(cls, data: Any, dtype: Any, shape: Any, order: Any) -> "PickledArray":
        """Replace NumPy's function `_frombuffer`.

        Args:
            data: the bytes of the elements.
            dtype: of the elements.
            shape: of the array.
            order: "F" if the first axis is contiguous, otherwise "C".

        Returns:
            The array.
        """
        array = cls()
        array.set_state((1, shape, dtype, isinstance(order, str) and order == "F", data))
        return array

    def set_state(self, state: Any) -> None:
        """Set what NumPy's array has: version, shape, type, order of the axes, data."""
        _, self._shape, self._dtype, self._fortran_order, self._data = state

    @property
    def nbytes(self) -> int:
        """The number of bytes of the elements."""
        return len(self._data) if isinstance(self._data, str | bytes) else 0

    def numpy(self) -> np.ndarray | None:
        """Build the array.

        Returns:
            The array, in the machine's order of bytes; None if its elements are not numbers.

        Raises:
            InputError: if its shape does not fit its data, or its elements are structures.
        """
        dtype = self._dtype.numpy() if isinstance(self._dtype, PickledDtype) else None
        if dtype is None or not isinstance(self._data, str | bytes):
            return None
        shape = self._shape
        if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
            raise InputError(f"an array has not 0 to {MAX_DIMENSIONS} dimensions")
        if not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise InputError("an array has a side that is not a number from 0 to 2^31")
        if math.prod(shape) * dtype.itemsize != self.nbytes:
            raise InputError(f"an array has {self.nbytes} bytes of data, and another number of elements")
        data = self._data.encode("latin1") if isinstance(self._data, str) else self._data
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if self._fortran_order is True else "C")
        return array.astype(dtype.newbyteorder("="), copy=False)

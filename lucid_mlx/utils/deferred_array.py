"""Arrays whose values are written after a graph was built on them.

MLX has no such thing, so this relies on three facts, which `tests/test_deferred_array.py` checks:

1. An evaluated array keeps its memory, and NumPy's view of it without a copy is that memory.
2. A graph that is built on an evaluated array holds the array itself, and reads its memory when it is computed; so
   does the graph of a gradient, `mx.value_and_grad` included.
3. Nothing is computed before somebody asks for it: what was built before `write` and is computed after it sees the
   values that were written.

Whoever builds on such an array must not evaluate the result before `write`.
"""

import mlx.core as mx
import numpy as np


def deferred(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    """Return an array to build a graph on, of zeros until `write` puts the values in.

    Args:
        shape: of the array.
        dtype: of the array.

    Returns:
        The array, evaluated.
    """
    array = mx.zeros(shape, dtype)
    mx.eval(array)
    return array


def write(array: mx.array, values: mx.array) -> None:
    """Write values into the memory of an array that `deferred` made.

    Args:
        array: where to.
        values: of the same shape.
    """
    np.array(array, copy=False)[:] = np.array(values, copy=False)

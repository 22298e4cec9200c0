"""Arrays whose values are written after a graph was built on them.

MLX has no such arrays, so this relies on three facts, which `tests/test_deferred_array.py` checks:

1. An evaluated array keeps its memory, and NumPy's view of it without a copy is that memory.
2. A graph that is built on an evaluated array holds the array itself, and reads its memory when it is computed. So
   does the graph of a gradient, `mx.value_and_grad` included.
3. Nothing is computed before its result is needed: a graph that is built before `write` and computed after it uses
   the written values.

Do not evaluate a result that depends on such an array before `write`.
"""

import mlx.core as mx
import numpy as np


def deferred(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    """Return an array to build a graph on, which holds zeros until `write` fills it.

    Args:
        shape: of the array.
        dtype: of the array.

    Returns:
        The evaluated array, of that shape and dtype.
    """
    array = mx.zeros(shape, dtype)
    mx.eval(array)
    return array


def write(array: mx.array, values: mx.array) -> None:
    """Write values into the memory of an array that `deferred` returned.

    Args:
        array: the array to fill.
        values: of the same shape.
    """
    np.array(array, copy=False)[:] = np.array(values, copy=False)

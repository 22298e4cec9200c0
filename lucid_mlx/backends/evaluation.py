"""When arrays are computed."""

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import mlx.core as mx

from lucid_mlx.backends.cpu.parallel import STREAMS, stream

if TYPE_CHECKING:
    import numpy as np

Key = TypeVar("Key")


def start(*arrays: mx.array) -> bool:
    """Begin to compute arrays, unless they belong to a graph that is being traced.

    Args:
        *arrays: what to compute.

    Returns:
        False inside of `mx.grad`, `mx.vjp` and `mx.compile`, where arrays cannot be computed ahead. MLX has no
        function that tells; this is the one place that relies on the error that it raises.
    """
    try:
        mx.async_eval(*arrays)
    except ValueError:
        return False
    return True


def evaluated_in_order(arrays: Iterator[tuple[Key, mx.array]]) -> Iterator[tuple[Key, "np.ndarray"]]:
    """Hand out arrays one after the other while the next ones are computed, on all cores of a CPU.

    Args:
        arrays: keys, and arrays that are built as they are asked for.

    Yields:
        The same keys, in order, with the values, of the arrays' shapes.
    """
    import numpy as np  # which takes longer to import than all of this package

    waiting: deque[tuple[Key, mx.array]] = deque()
    for number in count():
        with stream(number):
            following = next(arrays, None)
        if following is not None:
            mx.async_eval(following[1])
            waiting.append(following)
        if not waiting:
            break
        if following is None or len(waiting) > STREAMS:
            key, array = waiting.popleft()
            yield key, np.array(array, copy=False)

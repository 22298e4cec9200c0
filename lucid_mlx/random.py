"""Random arrays under lucid's names, so that its documented examples run as written."""

import math

import mlx.core as mx

from lucid_mlx.errors import InputError

MAX_NUMBERS = 1 << 28  # MLX ends the process for an array that does not fit into memory


def randn(*shape: int) -> mx.array:
    """Sample from the standard normal distribution.

    Args:
        *shape: the size of each axis.

    Returns:
        A float32 array of that shape.

    Raises:
        InputError: if a size is no whole number of at least 0, or the array would have more than 2^28 numbers.
    """
    if not all(type(size) is int and 0 <= size <= MAX_NUMBERS for size in shape) or math.prod(shape) > MAX_NUMBERS:
        raise InputError(f"the sizes of the axes must be whole numbers, of at most {MAX_NUMBERS} numbers in all")
    return mx.random.normal(shape)

"""Random arrays under lucid's names, so that its documented examples run as written."""

import mlx.core as mx


def randn(*shape: int) -> mx.array:
    """Sample from the standard normal distribution.

    Args:
        *shape: the size of each axis.

    Returns:
        A float32 array of that shape.
    """
    return mx.random.normal(shape)

"""Random arrays by lucid's names, so that its documented examples run as written."""

import mlx.core as mx


def randn(*shape: int) -> mx.array:
    """Draw from the standard normal distribution.

    Args:
        shape: the sizes of the result, as separate integers.

    Returns:
        A float32 array of that shape.
    """
    return mx.random.normal(shape)

"""The logistic function."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def sigmoid(x: mx.array) -> mx.array:
    """Return 1 / (1 + e^-x).

    Args:
        x: of any shape.

    Returns:
        Of the same shape and dtype.
    """
    return mx.sigmoid(x)

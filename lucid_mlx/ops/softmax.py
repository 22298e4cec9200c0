"""Softmax over the last axis."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def softmax(x: mx.array) -> mx.array:
    """Return the softmax over the last axis; sums are float32.

    Args:
        x: (..., N).

    Returns:
        (..., N), in the dtype of `x`.
    """
    return mx.softmax(x, axis=-1, precise=True)

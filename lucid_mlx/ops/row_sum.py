"""Sums of long rows."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def row_sum(x: mx.array) -> mx.array:
    """Add up the last axis and keep it.

    Args:
        x: (..., N).

    Returns:
        (..., 1).
    """
    return x.sum(axis=-1, keepdims=True)

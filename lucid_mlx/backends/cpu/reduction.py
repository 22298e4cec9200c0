"""Sums and other reductions of long rows."""

from collections.abc import Callable

import mlx.core as mx


def row_sum(definition: Callable[..., mx.array], x: mx.array) -> mx.array:
    """Compute `ops.row_sum`; arguments and result as there."""
    return reduce_rows(mx.sum, x)


def reduce_rows(reduction: Callable[..., mx.array], x: mx.array) -> mx.array:
    """Reduce the last axis and keep it; long rows blockwise first, along an axis that vectorizes.

    Args:
        reduction: `mx.sum`, `mx.max` or the like, of which the order does not matter.
        x: (..., N).

    Returns:
        (..., 1).
    """
    count = x.shape[-1]
    block = next((size for size in (64, 32, 128, 16) if count % size == 0 and count > size), None)
    if block is not None:
        x = reduction(x.reshape(*x.shape[:-1], count // block, block), axis=-2)
    return reduction(x, axis=-1, keepdims=True)

"""Pooling by comparisons of rows and columns."""

from collections.abc import Callable

import mlx.core as mx


def max_pool(definition: Callable[..., mx.array], x: mx.array) -> mx.array:
    """Compute `ops.max_pool`; arguments and result as there.

    First over rows, then over columns: as fast as MLX's own, whose gradient on the CPU is five times slower.
    """
    x = mx.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-mx.inf)
    rows, columns = (size - 2 for size in x.shape[1:3])
    x = mx.maximum(mx.maximum(x[:, 0:rows:2], x[:, 1 : rows + 1 : 2]), x[:, 2 : rows + 2 : 2])
    return mx.maximum(mx.maximum(x[:, :, 0:columns:2], x[:, :, 1 : columns + 1 : 2]), x[:, :, 2 : columns + 2 : 2])

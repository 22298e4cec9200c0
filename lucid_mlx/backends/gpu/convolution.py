"""Convolutions of one pixel as products."""

from collections.abc import Callable

import mlx.core as mx


def conv2d(
    definition: Callable[..., mx.array], x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0
) -> mx.array:
    """Compute `ops.conv2d`; arguments and result as there."""
    if weight.shape[1] == 1 and padding == 0:
        return x[:, ::stride, ::stride] @ weight[:, 0, 0].T
    return definition(x, weight, stride, padding)

"""Convolutions of one pixel as products, and of 3x3 pixels in half precision without Winograd's way."""

from collections.abc import Callable

import mlx.core as mx


def conv2d(
    definition: Callable[..., mx.array], x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0
) -> mx.array:
    """Compute `ops.conv2d`; arguments and result as there."""
    if weight.shape[1] == 1 and padding == 0:
        return x[:, ::stride, ::stride] @ weight[:, 0, 0].T
    if x.dtype != mx.float32 and winograd(weight, stride):
        return mx.conv_general(x, weight[:, ::-1, ::-1], stride, padding, flip=True)
    return definition(x, weight, stride, padding)


def winograd(weight: mx.array, stride: int) -> bool:
    """Return whether MLX's Metal backend may convolve by Winograd's F(6x6, 3x3).

    It does in every dtype (mlx/backend/metal/conv.cpp, MLX 0.32), if the map is large; a kernel that it is asked to
    flip takes the direct way. In float16 Winograd's error is 20 times the direct one, and inputs of 400 overflow.

    Args:
        weight: (outputs, k, k, inputs).
        stride: of rows and columns.

    Returns:
        True if it may.
    """
    outputs, height, width, inputs = weight.shape
    return (height, width, stride) == (3, 3, 1) and outputs % 32 == inputs % 32 == 0 and outputs + inputs >= 256

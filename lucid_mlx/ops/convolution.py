"""Two-dimensional convolution."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def conv2d(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0) -> mx.array:
    """Convolve.

    Args:
        x: (B, H, W, inputs).
        weight: (outputs, k, k, inputs).
        stride: of rows and columns.
        padding: zeros on all four sides.

    Returns:
        (B, (H + 2 padding - k) // stride + 1, the same of W, outputs).
    """
    return mx.conv2d(x, weight, stride, padding)

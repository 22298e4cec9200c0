"""Two-dimensional convolution in bounded memory."""

import mlx.core as mx

# MLX's CPU backend writes out every window of the input before one product: 705 MB for 256 channels on 256x256.
_BAND_BYTES = 64 << 20


def conv2d(x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0) -> mx.array:
    """Convolve, on the CPU a band of rows after the other.

    Args:
        x: (B, H, W, inputs).
        weight: (outputs, k, k, inputs).
        stride: of rows and columns.
        padding: zeros on all four sides.

    Returns:
        (B, (H + 2 padding - k) // stride + 1, the same of W, outputs).
    """
    kernel = weight.shape[1]
    if kernel == 1 and padding == 0:
        # As a product it is twice as fast on the CPU.
        return x[:, ::stride, ::stride] @ weight[:, 0, 0].T
    batch, height, width, inputs = x.shape
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
    band = max(1, _BAND_BYTES // (batch * columns * kernel**2 * inputs * x.dtype.size))
    if band >= rows or mx.default_device().type != mx.DeviceType.cpu:
        return mx.conv2d(x, weight, stride, padding)
    x = mx.pad(x, [(0, 0), (padding, padding), (0, 0), (0, 0)])
    bands = [x[:, first * stride : (min(first + band, rows) - 1) * stride + kernel] for first in range(0, rows, band)]
    return mx.concatenate([mx.conv2d(part, weight, stride, (0, padding)) for part in bands], axis=1)

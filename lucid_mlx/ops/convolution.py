"""Two-dimensional convolution: on the CPU in bounded memory, on all cores, and with a fast gradient."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.ops.streams import QUEUES, in_parts, on_cpu, queue

# What a band of rows may take while it is computed. MLX's CPU backend writes out every window of the input before one
# product: 705 MB for 256 channels on 256x256.
_BAND_BYTES = 64 << 20

Convolution = Callable[[mx.array, mx.array], mx.array]


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
    kernel = weight.shape[1]
    if kernel == 1 and padding == 0:
        # As a product it is twice as fast on the CPU.
        return in_parts(lambda x: x @ weight[:, 0, 0].T, x[:, ::stride, ::stride], axis=1)
    if not on_cpu():
        return mx.conv2d(x, weight, stride, padding)
    out: mx.array = _on_cpu(mx.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)]), weight, stride)
    return out


def _bands(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """Convolve without padding, a band of rows after the other, each in another queue."""
    batch, height, width, inputs = x.shape
    outputs, kernel = weight.shape[:2]
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    convolve = _plain(stride)
    if stride == 1 and kernel == 3 and rows * columns > 3 * inputs and x.dtype == mx.float32:
        # The products that are saved outweigh the kernels that are transformed, and the sums are exact enough.
        convolve = _winograd
    row_bytes = batch * columns * x.dtype.size * max(kernel**2 * inputs, 4 * (inputs + outputs))
    band = min(-(-rows // QUEUES), max(1, _BAND_BYTES // row_bytes))
    band += band % 2  # for Winograd's, which computes rows in pairs
    parts: list[mx.array] = []
    for first in range(0, rows, band):
        with queue(len(parts)):
            last = min(first + band, rows)
            parts.append(convolve(x[:, first * stride : (last - 1) * stride + kernel], weight))
    return mx.concatenate(parts, axis=1)


def _plain(stride: int) -> Convolution:
    return lambda x, weight: mx.conv2d(x, weight, stride)


def _winograd(x: mx.array, weight: mx.array) -> mx.array:
    """Convolve without padding by F(2x2, 3x3): 16 products make 4 outputs (Lavin and Gray, CVPR 2016, section 4.1)."""
    batch, height, width, inputs = x.shape
    outputs = len(weight)
    x = mx.pad(x, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)])
    down, across = x.shape[1] // 2 - 1, x.shape[2] // 2 - 1  # tiles of 4x4, which overlap by half
    kernels = weight.transpose(1, 2, 3, 0).reshape(3, -1)
    kernels = (_KERNEL @ (_KERNEL @ kernels).reshape(4, 3, -1)).reshape(4, 4, inputs, outputs)

    def spread(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> tuple[mx.array, ...]:
        return a - c, b + c, c - b, b - d

    def gather(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> tuple[mx.array, ...]:
        return a + b + c, b - c - d

    halves = []
    for row, line in enumerate(spread(*(x[:, i : i + 2 * down : 2] for i in range(4)))):
        tiles = spread(*(line[:, :, i : i + 2 * across : 2] for i in range(4)))
        halves.append(gather(*(tile @ kernels[row, column] for column, tile in enumerate(tiles))))
    quarters = [gather(*column) for column in zip(*halves, strict=True)]  # by column, then by row
    rows = [mx.stack(list(row), axis=3) for row in zip(*quarters, strict=True)]
    return mx.stack(rows, axis=2).reshape(batch, 2 * down, 2 * across, outputs)[:, : height - 2, : width - 2]


_KERNEL = mx.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])


def _windows(x: mx.array, kernel: int, stride: int) -> mx.array:
    """Return what the kernel sees at each place, (B, rows, columns, k * k * inputs)."""
    ends = [(size - kernel) // stride * stride + 1 for size in x.shape[1:3]]
    places = np.ndindex(kernel, kernel)
    shifted = [x[:, row : row + ends[0] : stride, column : column + ends[1] : stride] for row, column in places]
    return mx.concatenate(shifted, axis=-1)


def _gradient(
    primals: tuple[mx.array, mx.array, int], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array]:
    """Differentiate as many parts of the batch as there are queues."""
    x, weight, stride = primals

    def product(x: mx.array, weight: mx.array) -> mx.array:
        return _windows(x, weight.shape[1], stride) @ weight.reshape(len(weight), -1).T

    # MLX's own gradient of a convolution with a stride takes one number at a time: it is 10 to 25 times slower.
    convolve = product if stride > 1 else _plain(stride)
    to_x, to_weight = [], []
    ends = [len(x) * number // QUEUES for number in range(QUEUES + 1)]
    for number, part in enumerate(slice(*ends) for ends in pairwise(ends)):
        if part.start == part.stop:
            continue
        with queue(number):
            _, gradients = mx.vjp(convolve, [x[part], weight], [cotangent[part]])
        to_x.append(gradients[0])
        to_weight.append(gradients[1])
    return mx.concatenate(to_x), sum(to_weight[1:], to_weight[0])


_on_cpu: Any = mx.custom_function(_bands)
_on_cpu.vjp(_gradient)

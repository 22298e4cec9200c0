"""Two-dimensional convolution in bounded memory, on all cores, and with a fast gradient."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.cpu.parallel import STREAMS, parallel, stream

# What a band of rows may take while it is computed. MLX's CPU backend writes out every window of the input before one
# product: 705 MB for 256 channels on 256x256.
_BAND_BYTES = 64 << 20

Convolution = Callable[[mx.array, mx.array], mx.array]


def conv2d(
    definition: Callable[..., mx.array], x: mx.array, weight: mx.array, stride: int = 1, padding: int = 0
) -> mx.array:
    """Compute `ops.conv2d`; arguments and result as there."""
    if weight.shape[1] == 1 and padding == 0:  # as a product it is twice as fast
        return parallel(lambda x: x @ weight[:, 0, 0].T, x[:, ::stride, ::stride], axis=1)
    out: mx.array = _conv2d(x, weight, stride, padding)
    return out


def _bands(x: mx.array, weight: mx.array, stride: int, padding: int) -> mx.array:
    """Convolve a band of rows after the other, each in another stream."""
    x = _padded(x, padding)
    batch, height, width, inputs = x.shape
    outputs, kernel = weight.shape[:2]
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    convolve = _winograd if _worth_winograd(x, weight, stride) else _plain(stride)
    row_bytes = batch * columns * x.dtype.size * max(kernel**2 * inputs, 4 * (inputs + outputs))
    band = min(-(-rows // STREAMS), max(1, _BAND_BYTES // row_bytes))
    band += band % 2  # for Winograd's, which computes rows in pairs
    parts: list[mx.array] = []
    for first in range(0, rows, band):
        with stream(len(parts)):
            last = min(first + band, rows)
            parts.append(convolve(x[:, first * stride : (last - 1) * stride + kernel], weight))
    return mx.concatenate(parts, axis=1)


def _padded(x: mx.array, padding: int) -> mx.array:
    return mx.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])


def _plain(stride: int) -> Convolution:
    return lambda x, weight: mx.conv2d(x, weight, stride)


def _worth_winograd(x: mx.array, weight: mx.array, stride: int) -> bool:
    """Return whether the products saved outweigh the kernels that are transformed; the sums are exact enough."""
    batch, height, width, inputs = x.shape
    return stride == 1 and weight.shape[1] == 3 and batch * height * width > 3 * inputs and x.dtype == mx.float32


def _winograd(x: mx.array, weight: mx.array) -> mx.array:
    """Convolve without padding by F(2x2, 3x3): 16 products make 4 outputs (Lavin and Gray, CVPR 2016, section 4.1)."""
    batch, height, width, inputs = x.shape
    outputs = len(weight)
    x = mx.pad(x, [(0, 0), (0, height % 2), (0, width % 2), (0, 0)])
    down, across = x.shape[1] // 2 - 1, x.shape[2] // 2 - 1  # tiles of 4x4, which overlap by half
    kernels = weight.transpose(1, 2, 3, 0).reshape(3, -1)
    kernels = (_KERNEL @ (_KERNEL @ kernels).reshape(4, 3, -1)).reshape(4, 4, inputs, outputs)
    halves = []
    for row, tiles in enumerate(_tiles(x, down, across)):
        halves.append(_gather(*(tile @ kernels[row, column] for column, tile in enumerate(tiles))))
    quarters = [_gather(*column) for column in zip(*halves, strict=True)]  # by column, then by row
    rows = [mx.stack(list(row), axis=3) for row in zip(*quarters, strict=True)]
    return mx.stack(rows, axis=2).reshape(batch, 2 * down, 2 * across, outputs)[:, : height - 2, : width - 2]


def _winograd_to_weight(x: mx.array, cotangent: mx.array) -> mx.array:
    """Return the gradient of the kernel that `_winograd` convolves with: as many products, of what they had."""
    (inputs, outputs), (rows, columns) = (x.shape[-1], cotangent.shape[-1]), cotangent.shape[1:3]
    x, cotangent = (mx.pad(each, [(0, 0), (0, rows % 2), (0, columns % 2), (0, 0)]) for each in (x, cotangent))
    down, across = cotangent.shape[1] // 2, cotangent.shape[2] // 2
    lines = _spread(cotangent[:, ::2], cotangent[:, 1::2])
    spread = [_spread(line[:, :, ::2], line[:, :, 1::2]) for line in lines]
    products = [
        [part.reshape(-1, outputs).T @ tile.reshape(-1, inputs) for part, tile in zip(*line, strict=True)]
        for line in zip(spread, _tiles(x, down, across), strict=True)
    ]
    whole = mx.stack([mx.stack(line) for line in products]).reshape(4, -1)
    whole = (_KERNEL.T @ whole).reshape(3, 4, -1).swapaxes(0, 1).reshape(4, -1)
    return (_KERNEL.T @ whole).reshape(3, 3, outputs, inputs).transpose(2, 1, 0, 3)


def _tiles(x: mx.array, down: int, across: int) -> list[tuple[mx.array, ...]]:
    """Return the tiles of a map, 4x4 numbers each, as they are multiplied: by row and by column of the tile."""

    def mixed(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> tuple[mx.array, ...]:
        return a - c, b + c, c - b, b - d

    lines = mixed(*(x[:, i : i + 2 * down : 2] for i in range(4)))
    return [mixed(*(line[:, :, i : i + 2 * across : 2] for i in range(4))) for line in lines]


def _gather(a: mx.array, b: mx.array, c: mx.array, d: mx.array) -> tuple[mx.array, mx.array]:
    """Return two neighboring outputs of the products of a tile's row or column."""
    return a + b + c, b - c - d


def _spread(a: mx.array, b: mx.array) -> tuple[mx.array, ...]:
    """Return what `_gather`'s gradient makes of those of its outputs."""
    return a, a + b, a - b, -b


_KERNEL = mx.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])


def _windows(x: mx.array, kernel: int, stride: int) -> mx.array:
    """Return what the kernel sees at each place, (B, rows, columns, k * k * inputs)."""
    ends = [(size - kernel) // stride * stride + 1 for size in x.shape[1:3]]
    places = np.ndindex(kernel, kernel)
    shifted = [x[:, row : row + ends[0] : stride, column : column + ends[1] : stride] for row, column in places]
    return mx.concatenate(shifted, axis=-1)


def _gradient(
    primals: tuple[mx.array, mx.array, int, int], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array]:
    """Differentiate; sums over the batch in as many chunks of it as there are streams."""
    x, weight, stride, padding = primals
    kernel = weight.shape[1]

    def product(x: mx.array, weight: mx.array) -> mx.array:
        return _windows(_padded(x, padding), kernel, stride) @ weight.reshape(len(weight), -1).T

    def to_weight(x: mx.array, cotangent: mx.array) -> mx.array:
        x = _padded(x, padding)
        if _worth_winograd(x, weight, stride):
            return _winograd_to_weight(x, cotangent)
        return mx.vjp(lambda weight: mx.conv2d(x, weight), [weight], [cotangent])[1][0]

    if stride > 1 or padding >= kernel:
        # MLX's own gradient of a convolution with a stride takes one number at a time: it is 10 to 25 times slower.
        both = _by_batch(lambda x, cotangent: mx.vjp(product, [x, weight], [cotangent])[1], x, cotangent)
        to_x, to_weights = zip(*both, strict=True)
        return mx.concatenate(list(to_x)), sum(to_weights[1:], to_weights[0])
    # An input's gradient is a convolution too, by the flipped kernel.
    flipped = weight[:, ::-1, ::-1].transpose(3, 1, 2, 0)
    first, *others = _by_batch(to_weight, x, cotangent)
    return _bands(cotangent, flipped, 1, kernel - 1 - padding), sum(others, first)


def _by_batch(function: Callable[[mx.array, mx.array], Any], x: mx.array, cotangent: mx.array) -> list[Any]:
    """Call a function with parts of the batch, each in another stream."""
    ends = sorted({len(x) * number // STREAMS for number in range(STREAMS + 1)})
    results = []
    for number, part in enumerate(slice(*ends) for ends in pairwise(ends)):
        with stream(number):
            results.append(function(x[part], cotangent[part]))
    return results


_conv2d: Any = mx.custom_function(_bands)
_conv2d.vjp(_gradient)

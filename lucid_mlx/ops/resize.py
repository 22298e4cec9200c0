"""Bilinear resizing, `align_corners=False`.

Each output coordinate mixes two inputs, so resizing an axis is a product with a matrix that has two entries a row.
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import accelerated

Size = tuple[int, int]
Extent = tuple[float, float]


def bilinear_samples(
    inputs: int, outputs: int, extent: float, part: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spread samples evenly over the first `extent` of some inputs: each lies on an input, or between two.

    Args:
        inputs: number of inputs.
        outputs: number of samples.
        extent: how many of the inputs the samples cover, not necessarily whole.
        part: the samples that are wanted; all of them if left out.

    Returns:
        Three arrays, (wanted,): the input before a sample, the input after it, and the weight of the latter, float64. A
        sample that lies on an input has it twice.
    """
    centers = np.maximum((np.arange(outputs)[part] + 0.5) * extent / outputs - 0.5, 0.0)
    low = np.minimum(centers.astype(np.int64), inputs - 1)
    fraction = centers - low
    high = np.where(fraction > 0, np.minimum(low + 1, inputs - 1), low)
    return low, high, fraction


def interpolation_weights(inputs: int, outputs: int, extent: float, part: slice = slice(None)) -> np.ndarray:
    """Return the weights of `bilinear_samples` as a matrix.

    Args:
        inputs: number of inputs.
        outputs: number of samples.
        extent: how many of the inputs the samples cover.
        part: the samples that are wanted.

    Returns:
        (wanted, inputs) float64; rows add up to 1.
    """
    low, high, fraction = bilinear_samples(inputs, outputs, extent, part)
    matrix = np.zeros((len(low), inputs))
    rows = np.arange(len(low))
    np.add.at(matrix, (rows, low), 1.0 - fraction)
    np.add.at(matrix, (rows, high), fraction)
    return matrix


def interpolation_matrix(inputs: int, outputs: int, extent: float) -> mx.array:
    """Return `interpolation_weights` of all samples, (outputs, inputs) float32; arguments as there."""
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
    height, width = x.shape[1:3]
    if (height, width) == size:
        return x
    rows = _kept_matrix(height, size[0], height).astype(x.dtype)
    columns = _kept_matrix(width, size[1], width).astype(x.dtype)
    return resize_by_weights(x, rows, columns)


@accelerated
def resize_by_weights(x: mx.array, rows: mx.array, columns: mx.array) -> mx.array:
    """Mix the rows and the columns of a feature map.

    Args:
        x: (B, H, W, C).
        rows: (height, H) weights.
        columns: (width, W) weights.

    Returns:
        (B, height, width, C).
    """
    batch, height, _, channels = x.shape
    x = (columns @ x).reshape(batch, height, -1)
    return (rows @ x).reshape(batch, len(rows), len(columns), channels)


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

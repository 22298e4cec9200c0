"""Resize mask logits to the size of the photo, one tile after the other.

At full size the mask logits of all queries need much memory: 19 GB for 200 queries at 6000x4000. So a result is made
in tiles, and the logits of a tile are dropped after use.

Resizing is linear, and an output mixes few neighboring inputs. Two resizes in sequence are therefore one small matrix
product along each axis. Inside a tile the queries or classes come last, (height, width, channels): rows and columns
are then products with a few long rows, and the channels of a pixel are contiguous for the sum over queries and for the
argmax.
"""

from collections.abc import Iterator
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import tile_size
from lucid_mlx.ops.resize import interpolation_weights
from lucid_mlx.postprocessing.inputs import ImageSizes

ResizeWeights = tuple[mx.array, mx.array]  # of the rows and of the columns: (outputs, inputs) each
Region = tuple[slice, slice]  # rows and columns


class Tile(NamedTuple):
    """A rectangular part of a result.

    Attributes:
        region: its rows and columns in the result.
        logits: mask logits, (height, width, channels). They have the tile's size, or the resolution of the network's
            input if the second resize was left out.
        resize_weights: what `resize_tile` needs for that second resize; None if it is done.
    """

    region: Region
    logits: mx.array
    resize_weights: ResizeWeights | None


class _AxisTile(NamedTuple):
    """A tile along one axis: its outputs, the inputs that they use, and the weights of one or two resizes."""

    outputs: slice
    inputs: mx.array
    weights: list[mx.array]


def resize_tile(x: mx.array, weights: ResizeWeights) -> mx.array:
    """Resize a map with given weights.

    Args:
        x: (rows, columns, channels).
        weights: of the rows, (height, rows), and of the columns, (width, columns).

    Returns:
        (height, width, channels).
    """
    row_weights, column_weights = weights
    _, width, channels = x.shape
    x = (row_weights @ x.reshape(-1, width * channels)).reshape(-1, width, channels)
    return column_weights @ x


def compact(logits: mx.array) -> np.ndarray:
    """Return logits, (N, h, w) float32, in float16 if that holds them as they are: what a network in float16 gives."""
    exact = np.array(logits)
    with np.errstate(over="ignore"):
        half = exact.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), exact) else exact


def resized_tiles(
    mask_logits: mx.array,
    sizes: ImageSizes,
    channels: int,
    stop_at_input_size: bool = False,
    mirrored: bool = False,
) -> Iterator[Tile]:
    """Resize mask logits to the network's input and then to the result, tile by tile.

    Args:
        mask_logits: (Q, h, w).
        sizes: the sizes of the image.
        channels: maximum number of values for each pixel that the caller computes from a tile; it limits the tile's
            size.
        stop_at_input_size: leave out the second resize, so that the caller can apply something nonlinear in between.
            If False, both resizes are done at once.
        mirrored: the input shows the image mirrored, left for right; the result is mirrored back.

    Yields:
        The tiles, row by row. The logits of one are (height, width, Q) float32.
    """
    tile_bytes, columns = tile_size()
    rows = max(1, tile_bytes // (4 * channels * min(columns, sizes.target_size[1])))
    mask_logits = mx.contiguous(mask_logits.transpose(1, 2, 0))
    column_tiles = list(_axis_tiles(mask_logits.shape[1], sizes, 1, columns, stop_at_input_size, mirrored))
    for row_tile in _axis_tiles(mask_logits.shape[0], sizes, 0, rows, stop_at_input_size, False):
        strip = mask_logits[row_tile.inputs]
        for column_tile in column_tiles:
            first, *second = zip(row_tile.weights, column_tile.weights, strict=True)
            logits = resize_tile(strip[:, column_tile.inputs], first)
            yield Tile((row_tile.outputs, column_tile.outputs), logits, second[0] if second else None)


def axis_weights(length: int, sizes: ImageSizes, axis: int) -> np.ndarray:
    """Return the weights of both resizes together along an axis of the mask logits.

    Args:
        length: length of the axis.
        sizes: the sizes of the image.
        axis: 0 for rows, 1 for columns.

    Returns:
        (target, length) float32.
    """
    to_input, content, target = _resize_to_input(length, sizes, axis)
    chunks = (slice(start, start + 1024) for start in range(0, target, 1024))  # the products are float64
    return np.concatenate(
        [(interpolation_weights(content, target, content, chunk) @ to_input).astype(np.float32) for chunk in chunks]
    )


def _resize_to_input(length: int, sizes: ImageSizes, axis: int) -> tuple[np.ndarray, int, int]:
    """Return the weights of the resize to the input, (content, length), and the lengths of content and target."""
    input_length, content, target = (size[axis] for size in sizes)
    return interpolation_weights(length, input_length, length, slice(content)), content, target


def _axis_tiles(
    length: int, sizes: ImageSizes, axis: int, step: int, stop_at_input_size: bool, mirrored: bool
) -> Iterator[_AxisTile]:
    to_input, content, target = _resize_to_input(length, sizes, axis)
    for start in range(0, target, step):
        outputs = slice(start, min(start + step, target))
        of = slice(target - outputs.stop, target - outputs.start) if mirrored else outputs
        weights = [interpolation_weights(content, target, content, of)[:: -1 if mirrored else 1]]
        if stop_at_input_size:
            input_pixels, weights[0] = _without_unused_inputs(weights[0])
            weights.insert(0, to_input[input_pixels])
        else:
            weights[0] = weights[0] @ to_input
        inputs, weights[0] = _without_unused_inputs(weights[0])
        yield _AxisTile(outputs, mx.array(inputs), [mx.array(each.astype(np.float32)) for each in weights])


def _without_unused_inputs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the inputs that some output uses, and the weights of these inputs."""
    used = np.flatnonzero(weights.any(axis=0))
    return used, weights[:, used]

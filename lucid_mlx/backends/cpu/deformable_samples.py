"""Where the samples of multi-scale deformable attention lie.

The maps of a head are padded with zeros and laid under each other, so that the four corners of any sample are two
pairs of neighbors at a fixed distance, and samples outside are zero without a test.
"""

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.cpu.parallel import stream

Levels = list[tuple[int, int]]


class Samples(NamedTuple):
    """What there is to add up.

    Attributes:
        values: (positions, D), the padded values of all heads.
        corners: (N, samples) int32, for each query and head the positions at the top left of its samples.
        weights: (N, samples, 4) float32, of that position, of the one to its right, and of the two below these: the
            bilinear weights times the attention weight.
        width: positions from a row to the next.
    """

    values: mx.array
    corners: mx.array
    weights: mx.array
    width: int


def place_samples(value: mx.array, levels: Levels, locations: mx.array, weights: mx.array) -> Samples:
    """Place the samples of `ops.multi_scale_deformable_attention`; arguments as there."""
    padded = _pad_values(value, levels)
    _, _, rows, width, dim = padded.shape
    with stream(1):
        corners, bilinear = _place(locations, weights, levels, rows, width)
    return Samples(padded.reshape(-1, dim), corners, bilinear, width)


def _pad_values(value: mx.array, levels: Levels) -> mx.array:
    """Lay the maps of each head under each other, (B, heads, rows, width, D).

    There is a row of zeros above and below each map, a column of them to its left and at least one to its right.
    """
    batch, _, heads, dim = value.shape
    value = value.transpose(0, 2, 1, 3)
    width = max(columns for _, columns in levels) + 2
    maps, first = [], 0
    for rows, columns in levels:
        level = value[:, :, first : first + rows * columns].reshape(batch, heads, rows, columns, dim)
        maps.append(mx.pad(level, [(0, 0), (0, 0), (1, 0), (1, width - 1 - columns), (0, 0)]))
        first += rows * columns
    return mx.concatenate([*maps, mx.zeros((batch, heads, 1, width, dim), value.dtype)], axis=2)


def _place(locations: mx.array, weights: mx.array, levels: Levels, rows: int, width: int) -> tuple[mx.array, mx.array]:
    """Place the samples on padded maps of `rows` by `width` positions for each image and head.

    Returns:
        The top left corner of each sample, (B * Q * heads, levels * points) int32, and the weights of its four
        corners, (..., 4).
    """
    batch, queries, heads, _, points = weights.shape
    # For each sample of a query and head: x and y in turn, and what belongs to its level.
    sizes = mx.array(np.repeat([level[::-1] for level in levels], points, axis=0).ravel(), mx.float32)
    first_rows = np.cumsum([0] + [height + 1 for height, _ in levels[:-1]])
    level_starts = mx.array(np.repeat(first_rows * width, points).astype(np.int32))
    head_starts = mx.arange(batch * heads, dtype=mx.int32).reshape(batch, 1, heads) * (rows * width)
    head_starts = mx.broadcast_to(head_starts, (batch, queries, heads)).reshape(-1, 1)

    weights = weights.reshape(len(head_starts), len(levels) * points)
    pixels = _to_pixels(locations.reshape(len(head_starts), len(sizes)), sizes)
    top_left = mx.stop_gradient(_top_left(pixels, sizes))
    column, row = top_left[:, ::2], top_left[:, 1::2]
    bilinear = _bilinear_weights(pixels[:, ::2], pixels[:, 1::2], column, row, weights)
    corners = _positions(column, row, mx.array(width), level_starts, head_starts)
    return corners, mx.stack([*bilinear], axis=-1)


@mx.compile
def _to_pixels(locations: mx.array, sizes: mx.array) -> mx.array:
    # -1 and `size` are the centers of positions that are zero; beyond them lies nothing else. At -1 there is a gradient
    # and at `size` there is none, as by the definition.
    pixels = locations * sizes - 0.5
    return mx.where(pixels < -1.0, -1.0, mx.where(pixels >= sizes, sizes, pixels))


@mx.compile
def _top_left(pixels: mx.array, sizes: mx.array) -> mx.array:
    """Count columns and rows from the border's; a NaN stays on the map, and is one by its weight."""
    corners, last = (mx.where(pixels == pixels, pixels, 0.0) + 1.0).astype(mx.int32), sizes.astype(mx.int32)
    return mx.where(corners > last, last, corners)


@mx.compile
def _positions(
    column: mx.array, row: mx.array, width: mx.array, level_starts: mx.array, head_starts: mx.array
) -> mx.array:
    return head_starts + level_starts + row * width + column


@mx.compile
def _bilinear_weights(
    x: mx.array, y: mx.array, column: mx.array, row: mx.array, weights: mx.array
) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    right, below = x - (column.astype(mx.float32) - 1.0), y - (row.astype(mx.float32) - 1.0)
    left, lower = 1.0 - right, weights * below
    upper = weights * (1.0 - below)
    return upper * left, upper * right, lower * left, lower * right

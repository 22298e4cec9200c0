"""The samples of multi-scale deformable attention, placed.

All maps of a head lie on one sheet, with zeros between them, so that the four corners of any sample are two pairs of
neighbours at a fixed distance.
"""

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.ops.streams import queue

Levels = list[tuple[int, int]]


class Samples(NamedTuple):
    """What there is to add up.

    Attributes:
        sheets: (cells of all sheets, D).
        cells: (N, samples) int32, for each query and head the cells at the top left of its samples.
        shares: (N, samples, 4) float32, of that cell, of the one to its right, and of the two below these.
        width: of a sheet.
    """

    sheets: mx.array
    cells: mx.array
    shares: mx.array
    width: int


def place(value: mx.array, levels: Levels, locations: mx.array, weights: mx.array) -> Samples:
    """Return the samples that `multi_scale_deformable_attention` adds up."""
    sheets = _sheets(value, levels)
    _, _, rows, width, dim = sheets.shape
    with queue(1):
        cells, shares = _samples(locations, weights, levels, rows, width)
    return Samples(sheets.reshape(-1, dim), cells, shares, width)


def _sheets(value: mx.array, levels: Levels) -> mx.array:
    """Lay the maps of each head under each other, (B, heads, rows, width, D).

    A row of zeros above and below each map, a column of them to its left and at least one to its right make samples
    outside zero without a test.
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


def _samples(
    locations: mx.array, weights: mx.array, levels: Levels, rows: int, width: int
) -> tuple[mx.array, mx.array]:
    """Place the samples on the sheets of `rows` by `width` cells, all of which are counted through.

    Returns:
        The cell at the top left of each sample, (B * Q * heads, levels * points) int32; and the shares of that cell, of
        the one to its right, and of the two below these, (..., 4).
    """
    batch, queries, heads, _, points = weights.shape
    # For each sample of a query and head: x and y in turn, and what belongs to its level.
    sizes = mx.array(np.repeat([level[::-1] for level in levels], points, axis=0).ravel(), mx.float32)
    first_rows = np.cumsum([0] + [height + 1 for height, _ in levels[:-1]])
    firsts = mx.array(np.repeat(first_rows * width, points).astype(np.int32))
    sheets = mx.arange(batch * heads, dtype=mx.int32).reshape(batch, 1, heads) * (rows * width)
    sheets = mx.broadcast_to(sheets, (batch, queries, heads)).reshape(-1, 1)

    weights = weights.reshape(len(sheets), len(levels) * points)
    pixels = _pixels(locations.reshape(len(sheets), len(sizes)), sizes)
    corners = mx.stop_gradient(_upper_left(pixels, sizes))
    column, row = corners[:, ::2], corners[:, 1::2]
    shares = _shares(pixels[:, ::2], pixels[:, 1::2], column, row, weights)
    return _cells(column, row, mx.array(width), firsts, sheets), mx.stack([*shares], axis=-1)


@mx.compile
def _pixels(locations: mx.array, sizes: mx.array) -> mx.array:
    # -1 and `size` are the centres of cells that are zero; beyond them lies nothing else. At -1 there is a gradient and
    # at `size` there is none, as by the definition.
    pixels = locations * sizes - 0.5
    return mx.where(pixels < -1.0, -1.0, mx.where(pixels >= sizes, sizes, pixels))


@mx.compile
def _upper_left(pixels: mx.array, sizes: mx.array) -> mx.array:
    """Count columns and rows from the border's; a NaN stays on the sheet, and is one by its share."""
    corners, last = (mx.where(pixels == pixels, pixels, 0.0) + 1.0).astype(mx.int32), sizes.astype(mx.int32)
    return mx.where(corners > last, last, corners)


@mx.compile
def _cells(column: mx.array, row: mx.array, width: mx.array, firsts: mx.array, sheets: mx.array) -> mx.array:
    return sheets + firsts + row * width + column


@mx.compile
def _shares(
    x: mx.array, y: mx.array, column: mx.array, row: mx.array, weights: mx.array
) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    right, below = x - (column.astype(mx.float32) - 1.0), y - (row.astype(mx.float32) - 1.0)
    left, lower = 1.0 - right, weights * below
    upper = weights * (1.0 - below)
    return upper * left, upper * right, lower * left, lower * right

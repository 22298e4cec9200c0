"""Multi-scale deformable attention in plain MLX operations: fast on the CPU, and the oracle for the GPU's kernel.

All maps of a head lie on one sheet, with zeros between them, so that the four corners of any sample are two pairs of
neighbours at a fixed distance. The forward gathers the corners and multiplies them with their weights, a part after the
other. The backward sorts the samples by their cells: what those of one cell add to its corners is one small product.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.ops.streams import on_cpu, queue

Levels = list[tuple[int, int]]

# Corners gathered at a time. The whole of them is 1 GB at 1024x1024 pixels; parts that stay in the CPU's cache are
# faster too. A GPU wants fewer, larger launches.
_PART_BYTES = {mx.DeviceType.cpu: 8 << 20, mx.DeviceType.gpu: 512 << 20}


def deformable_attention_plain(value: mx.array, levels: Levels, locations: mx.array, weights: mx.array) -> mx.array:
    """Compute `multi_scale_deformable_attention` in plain operations, on any device."""
    batch, queries = weights.shape[:2]
    sheets = _sheets(value, levels)
    _, _, rows, width, dim = sheets.shape
    with queue(1):
        cells, shares = _samples(locations, weights, levels, rows, width)
    # MLX's own gradient of a gather adds one number at a time on the CPU.
    mix = _mix_sorted if on_cpu() else _mix
    return mix(sheets.reshape(-1, dim), cells, shares.astype(value.dtype), width).reshape(batch, queries, -1)


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


def _mix(sheets: mx.array, cells: mx.array, shares: mx.array, width: int) -> mx.array:
    """Add the corners of all samples of a query up.

    Args:
        sheets: (cells of all sheets, D).
        cells: (N, samples) int32, the top left corners.
        shares: (N, samples, 4), of the corners.
        width: of a sheet.

    Returns:
        (N, D).
    """
    rows = shares.reshape(len(shares), 1, -1)
    return _bit_by_bit(lambda part: rows[part] @ _corners(sheets, cells[part], width), sheets, cells)[:, 0]


def _corners(sheets: mx.array, cells: mx.array, width: int) -> mx.array:
    """Return the corners of samples, (N, samples * 4, D)."""
    # In this view a row holds a cell and the one to its right. Rows overlap: nothing is stored twice.
    dim = sheets.shape[1]
    pairs = mx.as_strided(sheets, (len(sheets) - 1, 2 * dim), (dim, 1))
    return mx.take(pairs, mx.stack([cells, cells + width], axis=-1), axis=0).reshape(len(cells), -1, dim)


def _bit_by_bit(compute: Callable[[slice], mx.array], sheets: mx.array, cells: mx.array) -> mx.array:
    """Compute for some queries at a time, each time in another queue."""
    corner_bytes = cells.shape[1] * 4 * sheets.shape[1] * sheets.dtype.size
    step = max(1, _PART_BYTES[mx.default_device().type] // corner_bytes)
    bits: list[mx.array] = []
    for first in range(0, len(cells), step):
        with queue(len(bits)):
            bits.append(compute(slice(first, first + step)))
    return mx.concatenate(bits)


def _mix_vjp(
    primals: tuple[mx.array, mx.array, mx.array, int], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    sheets, cells, shares, width = primals
    columns = cotangent[..., None]
    to_shares = _bit_by_bit(lambda part: _corners(sheets, cells[part], width) @ columns[part], sheets, cells)
    with queue(1):
        to_sheets = _add_corners(cells, shares, cotangent, len(sheets), width)
    return to_sheets, mx.zeros_like(cells), to_shares.reshape(shares.shape)


_mix_sorted: Any = mx.custom_function(_mix)
_mix_sorted.vjp(_mix_vjp)


def _add_corners(cells: mx.array, shares: mx.array, cotangent: mx.array, count: int, width: int) -> mx.array:
    """Give each of `count` cells what its samples have of the cotangent, (count, D)."""
    flat = cells.reshape(-1)
    order = mx.argsort(flat)
    ends = mx.cumsum(mx.zeros(count, mx.int32).at[flat].add(1))
    segments = mx.stack([mx.concatenate([mx.zeros(1, mx.int32), ends[:-1]]), ends], axis=1)
    # Of each cell a (4, samples) by (samples, D) product; only in float32 is there one for segments.
    left = shares.reshape(-1, 4)[order].astype(mx.float32).T
    right = cotangent[order // cells.shape[1]].astype(mx.float32)
    corners = mx.segmented_mm(left, right, segments.astype(mx.uint32))
    shifts = (0, 1, width, width + 1)
    moved = [mx.pad(corners[: count - shift, i], [(shift, 0), (0, 0)]) for i, shift in enumerate(shifts)]
    return sum(moved[1:], moved[0]).astype(cotangent.dtype)

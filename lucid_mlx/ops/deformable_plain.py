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
_PART_BYTES = {mx.DeviceType.cpu: 16 << 20, mx.DeviceType.gpu: 512 << 20}


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
    batch, _, heads = weights.shape[:3]
    heights, widths = (mx.array(sizes, mx.float32)[:, None] for sizes in zip(*levels, strict=True))

    def split(coordinate: mx.array, size: mx.array) -> tuple[mx.array, mx.array]:
        pixel = coordinate * size - 0.5
        # -1 and `size` are the centres of cells that are zero; beyond them lies nothing else. At a tie the gradient
        # goes to the second of the two: as by the definition, -1 has one and `size` has none.
        pixel = mx.minimum(mx.maximum(-1.0, pixel), size)
        cell = mx.stop_gradient(mx.minimum(size - 1, mx.floor(pixel)))
        return cell, pixel - cell

    column, right = split(locations[..., 0], widths)
    row, below = split(locations[..., 1], heights)
    first_rows = np.cumsum([1] + [height + 1 for height, _ in levels[:-1]])
    firsts = mx.array((first_rows * width + 1).astype(np.int32))[:, None]
    sheets = mx.arange(batch * heads, dtype=mx.int32).reshape(batch, 1, heads, 1, 1) * (rows * width)
    cells = sheets + firsts + (row * width + column).astype(mx.int32)

    left, above = 1 - right, 1 - below
    shares = mx.stack([x * y for y in (weights * above, weights * below) for x in (left, right)], axis=-1)
    flat = (-1, weights.shape[3] * weights.shape[4])
    # A NaN location becomes any integer; as cell 0 it gives NaN, where a wild one would read outside the sheets.
    return mx.stop_gradient(mx.maximum(cells, 0)).reshape(flat), shares.reshape(*flat, 4)


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

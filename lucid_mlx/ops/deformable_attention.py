"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021, eq. 3) in plain MLX operations."""

from functools import cache
from typing import Any

import mlx.core as mx

from lucid_mlx.ops.deformable_kernel import deformable_attention_kernel
from lucid_mlx.ops.deformable_kernel_check import usable

Levels = list[tuple[int, int]]

# Corner rows gathered at a time. The whole of it is 1 GB at 1024x1024 pixels; parts that stay in the CPU's cache
# are faster too. A GPU wants fewer, larger launches.
_CHUNK_BYTES = {mx.DeviceType.cpu: 8 << 20, mx.DeviceType.gpu: 512 << 20}


def multi_scale_deformable_attention(
    value: mx.array, levels: Levels, locations: mx.array, weights: mx.array
) -> mx.array:
    """Sum bilinear samples of several feature maps, weighted by attention.

    Args:
        value: (B, S, heads, D), the maps of all levels, flattened row by row and concatenated.
        levels: the height and width of each level, in the order of `value`; the areas add up to S.
        locations: (B, Q, heads, levels, points, 2) as (x, y); 0 and 1 are the outer borders of a map. Samples
            outside are zero, those near a border mix with zeros.
        weights: (B, Q, heads, levels, points).

    Returns:
        (B, Q, heads * D) in the dtype of `value`. Differentiable in `value`, `locations` and `weights`.
    """
    if usable(value, locations, deformable_attention_plain):
        return deformable_attention_kernel(value, levels, locations, weights)
    return deformable_attention_plain(value, levels, locations, weights)


def deformable_attention_plain(value: mx.array, levels: Levels, locations: mx.array, weights: mx.array) -> mx.array:
    """Compute `multi_scale_deformable_attention` in plain operations, on any device."""
    batch, _, heads, dim = value.shape
    queries, points = locations.shape[1], len(levels) * locations.shape[4]
    table, starts = _quad_table(value, levels)
    rows, corners = _corners(locations, weights, levels, starts)
    rows = rows.reshape(-1, points)
    corners = corners.astype(value.dtype).reshape(-1, 1, points * 4)

    device = mx.default_device().type
    step = max(1, _CHUNK_BYTES[device] // (points * 4 * dim * value.dtype.size))
    sums: list[mx.array] = []
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        with mx.stream(_streams(device)[len(sums) % 2]):
            quads = mx.take(table, rows[part], axis=0).reshape(-1, points * 4, dim)
            sums.append(corners[part] @ quads)
    return mx.concatenate(sums).reshape(batch, queries, heads * dim)


def _streams(device: mx.DeviceType) -> tuple[Any, Any]:
    """Return two queues of work: on a CPU, of which one keeps one core busy, they run beside each other."""
    default = mx.default_stream(mx.default_device())
    return default, _second_cpu_stream() if device == mx.DeviceType.cpu else default


@cache
def _second_cpu_stream() -> mx.ThreadLocalStream:
    return mx.new_thread_local_stream(mx.cpu)


def _quad_table(value: mx.array, levels: Levels) -> tuple[mx.array, mx.array]:
    """Lay the maps out so that one row of the table holds the four corners of a cell.

    Each map gets a border of zeros, one cell wide on the left, right and top and two at the bottom, which makes
    samples outside zero without a test. Then each cell is paired with the one below. Two pairs that follow each
    other are the corners of one cell, so the table is an overlapping view: nothing is copied four times.

    Returns:
        The table, (rows, 4 * D), with corners in the order top left, bottom left, top right, bottom right; and
        the table row at which each level starts, (B, 1, heads, levels, 1) int32.
    """
    batch, _, heads, dim = value.shape
    pairs, starts, first, row = [], [], 0, 0
    for height, width in levels:
        level = value[:, first : first + height * width].reshape(batch, height, width, heads, dim)
        level = mx.pad(level, [(0, 0), (1, 2), (1, 1), (0, 0), (0, 0)])
        pair = mx.stack([level[:, :-1], level[:, 1:]], axis=4)
        pairs.append(pair.reshape(batch, (height + 2) * (width + 2), heads, 2 * dim))
        starts.append(row)
        first += height * width
        row += (height + 2) * (width + 2)
    pairs.append(mx.zeros((batch, 1, heads, 2 * dim), value.dtype))  # what follows the very last pair
    rows = batch * heads * (row + 1)
    flat = mx.concatenate(pairs, axis=1).transpose(0, 2, 1, 3).reshape(rows * 2 * dim)
    table = mx.as_strided(flat, (rows - 1, 4 * dim), (2 * dim, 1))
    maps = mx.arange(batch * heads, dtype=mx.int32).reshape(batch, 1, heads, 1, 1) * (row + 1)
    return table, maps + mx.array(starts, mx.int32)[:, None]


def _corners(locations: mx.array, weights: mx.array, levels: Levels, starts: mx.array) -> tuple[mx.array, mx.array]:
    """Return the table row of each sample, (B, Q, heads, levels, points), and its corners' weights, (..., 4)."""
    heights, widths = (mx.array(sizes, mx.float32)[:, None] for sizes in zip(*levels, strict=True))

    def split(coordinate: mx.array, size: mx.array) -> tuple[mx.array, mx.array]:
        pixel = coordinate * size - 0.5
        # -1 and `size` are the centres of border cells, which are zero; beyond them lies nothing else.
        pixel = mx.minimum(size, mx.maximum(-1.0, pixel))
        cell = mx.stop_gradient(mx.floor(pixel))
        return cell, pixel - cell

    column, right = split(locations[..., 0], widths)
    row, below = split(locations[..., 1], heights)
    rows = starts + ((row + 1) * (widths + 2) + column + 1).astype(mx.int32)
    left_share, right_share = weights * (1 - right), weights * right
    above = 1 - below
    corners = [left_share * above, left_share * below, right_share * above, right_share * below]
    # A NaN location becomes any integer; as row 0 it gives NaN, where a wild one would read outside the table.
    return mx.stop_gradient(mx.maximum(rows, 0)), mx.stack(corners, axis=-1)

"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021, eq. 3) in plain MLX operations."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

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
    table, starts = _pair_table(value, levels)
    with aside():
        rows, corners = _corners(locations, weights, levels, starts)
        rows = rows.reshape(-1, points * 2)
        corners = corners.astype(value.dtype).reshape(-1, 1, points * 4)

    step = max(1, _CHUNK_BYTES[mx.default_device().type] // (points * 4 * dim * value.dtype.size))
    sums: list[mx.array] = []
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        with aside() if len(sums) % 2 else nullcontext():
            samples = mx.take(table, rows[part], axis=0).reshape(-1, points * 4, dim)
            sums.append(corners[part] @ samples)
    return mx.concatenate(sums).reshape(batch, queries, heads * dim)


def aside() -> AbstractContextManager[object]:
    """Send operations to a second queue of the CPU, of which one keeps one core busy; on a GPU this does nothing."""
    return mx.stream(_second_cpu_stream()) if mx.default_device().type == mx.DeviceType.cpu else nullcontext()


@cache
def _second_cpu_stream() -> mx.ThreadLocalStream:
    return mx.new_thread_local_stream(mx.cpu)


def _pair_table(value: mx.array, levels: Levels) -> tuple[mx.array, mx.array]:
    """Lay the maps out so that one row of the table holds two corners of a cell.

    Each map gets a border of zeros, one cell wide, which makes samples outside zero without a test. A row of the
    table is a cell and the one to its right; rows overlap, so that nothing is copied twice.

    Returns:
        The table, (rows, 2 * D); and the table row at which each level starts, (B, 1, heads, levels, 1) int32.
    """
    batch, _, heads, dim = value.shape
    value = value.transpose(0, 2, 1, 3)
    maps, starts, first, row = [], [], 0, 0
    for height, width in levels:
        level = value[:, :, first : first + height * width].reshape(batch, heads, height, width, dim)
        level = mx.pad(level, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
        maps.append(level.reshape(batch, heads, -1, dim))
        starts.append(row)
        first += height * width
        row += maps[-1].shape[2]
    rows = batch * heads * row
    table = mx.as_strided(mx.concatenate(maps, axis=2), (rows - 1, 2 * dim), (dim, 1))
    heads_first = mx.arange(batch * heads, dtype=mx.int32).reshape(batch, 1, heads, 1, 1) * row
    return table, heads_first + mx.array(starts, mx.int32)[:, None]


def _corners(locations: mx.array, weights: mx.array, levels: Levels, starts: mx.array) -> tuple[mx.array, mx.array]:
    """Return the table rows of each sample, (B, Q, heads, levels, points, 2), and its corners' weights, (..., 4)."""
    heights, widths = (mx.array(sizes, mx.float32)[:, None] for sizes in zip(*levels, strict=True))

    def split(coordinate: mx.array, size: mx.array) -> tuple[mx.array, mx.array]:
        pixel = coordinate * size - 0.5
        # -1 and `size` are the centres of border cells, which are zero; beyond them lies nothing else.
        pixel = mx.minimum(size, mx.maximum(-1.0, pixel))
        cell = mx.stop_gradient(mx.minimum(size - 1, mx.floor(pixel)))
        return cell, pixel - cell

    column, right = split(locations[..., 0], widths)
    row, below = split(locations[..., 1], heights)
    above_rows = starts + ((row + 1) * (widths + 2) + column + 1).astype(mx.int32)
    rows = mx.stack([above_rows, above_rows + (widths + 2).astype(mx.int32)], axis=-1)
    left_share, right_share = weights * (1 - right), weights * right
    above = 1 - below
    corners = [left_share * above, right_share * above, left_share * below, right_share * below]
    # A NaN location becomes any integer; as row 0 it gives NaN, where a wild one would read outside the table.
    return mx.stop_gradient(mx.maximum(rows, 0)), mx.stack(corners, axis=-1)

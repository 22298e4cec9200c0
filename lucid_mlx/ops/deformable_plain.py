"""Multi-scale deformable attention in plain MLX operations: differentiable, and the oracle for the fused kernels.

The forward gathers the corners and multiplies them with their shares, a part after the other. The backward sorts the
samples by their cells: what those of one cell add to its corners is one small product.
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_mlx.ops.deformable_samples import Levels, place
from lucid_mlx.ops.streams import on_cpu, queue

# Corners gathered at a time. The whole of them is 1 GB at 1024x1024 pixels; parts that stay in the CPU's cache are
# faster too. A GPU wants fewer, larger launches.
_PART_BYTES = {mx.DeviceType.cpu: 8 << 20, mx.DeviceType.gpu: 512 << 20}


def deformable_attention_plain(value: mx.array, levels: Levels, locations: mx.array, weights: mx.array) -> mx.array:
    """Compute `multi_scale_deformable_attention`, on any device."""
    return mix(*place(value, levels, locations, weights)).reshape(*weights.shape[:2], -1)


def mix(sheets: mx.array, cells: mx.array, shares: mx.array, width: int) -> mx.array:
    """Add the corners of all samples of a query up.

    Args:
        sheets, cells, shares, width: as of `Samples`.

    Returns:
        (N, D).
    """
    # MLX's own gradient of a gather adds one number at a time on the CPU.
    compute = _mix_sorted if on_cpu() else _mix
    mixed: mx.array = compute(sheets, cells, shares.astype(sheets.dtype), width)
    return mixed


def _mix(sheets: mx.array, cells: mx.array, shares: mx.array, width: int) -> mx.array:
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

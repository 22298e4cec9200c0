"""Multi-scale deformable attention by gathered corners, for gradients on the CPU.

The forward gathers the corners and multiplies them with their weights, a chunk after the other. The backward sorts the
samples by their corners: what those of one position add to its neighbors is one small product. (MLX's own gradient of
a gather adds one number at a time.)
"""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_mlx.backends.cpu.deformable_samples import Samples
from lucid_mlx.backends.cpu.parallel import stream

_CHUNK_BYTES = 8 << 20  # of gathered corners, which are 1 GB at 1024x1024 pixels; chunks stay in the cache


def sum_by_gather(samples: Samples) -> mx.array:
    """Add the samples of each query and head up, (N, D); differentiable in `values` and `weights`."""
    values, corners, weights, width = samples
    result: mx.array = _sum(values, corners, weights.astype(values.dtype), width)
    return result


def _value(values: mx.array, corners: mx.array, weights: mx.array, width: int) -> mx.array:
    rows = weights.reshape(len(weights), 1, -1)
    return _in_chunks(lambda part: rows[part] @ _gather(values, corners[part], width), values, corners)[:, 0]


def _gather(values: mx.array, corners: mx.array, width: int) -> mx.array:
    """Return the values at the corners of samples, (N, samples * 4, D)."""
    # In this view a row holds a position and the one to its right. Rows overlap: nothing is stored twice.
    dim = values.shape[1]
    pairs = mx.as_strided(values, (len(values) - 1, 2 * dim), (dim, 1))
    return mx.take(pairs, mx.stack([corners, corners + width], axis=-1), axis=0).reshape(len(corners), -1, dim)


def _in_chunks(compute: Callable[[slice], mx.array], values: mx.array, corners: mx.array) -> mx.array:
    """Compute for some queries at a time, each time in another stream."""
    corner_bytes = corners.shape[1] * 4 * values.shape[1] * values.dtype.size
    step = max(1, _CHUNK_BYTES // corner_bytes)
    chunks: list[mx.array] = []
    for first in range(0, len(corners), step):
        with stream(len(chunks)):
            chunks.append(compute(slice(first, first + step)))
    return mx.concatenate(chunks)


def _gradient(
    primals: tuple[mx.array, mx.array, mx.array, int], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    values, corners, weights, width = primals
    columns = cotangent[..., None]
    to_weights = _in_chunks(lambda part: _gather(values, corners[part], width) @ columns[part], values, corners)
    with stream(1):
        to_values = _scatter(corners, weights, cotangent, len(values), width)
    return to_values, mx.zeros_like(corners), to_weights.reshape(weights.shape)


_sum: Any = mx.custom_function(_value)
_sum.vjp(_gradient)


def _scatter(corners: mx.array, weights: mx.array, cotangent: mx.array, count: int, width: int) -> mx.array:
    """Give each of `count` positions what its samples have of the cotangent, (count, D)."""
    flat = corners.reshape(-1)
    order = mx.argsort(flat)
    ends = mx.cumsum(mx.zeros(count, mx.int32).at[flat].add(1))
    segments = mx.stack([mx.concatenate([mx.zeros(1, mx.int32), ends[:-1]]), ends], axis=1)
    # Of each position a (4, samples) by (samples, D) product; only in float32 is there one for segments.
    left = weights.reshape(-1, 4)[order].astype(mx.float32).T
    right = cotangent[order // corners.shape[1]].astype(mx.float32)
    sums = mx.segmented_mm(left, right, segments.astype(mx.uint32))
    shifts = (0, 1, width, width + 1)
    moved = [mx.pad(sums[: count - shift, i], [(shift, 0), (0, 0)]) for i, shift in enumerate(shifts)]
    return sum(moved[1:], moved[0]).astype(cotangent.dtype)

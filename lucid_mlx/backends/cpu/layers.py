"""Operations on tokens and heads that are as they are defined, cut for all cores."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_mlx.backends.cpu.parallel import parallel

Definition = Callable[..., mx.array]


def by_token(definition: Definition, x: mx.array, *rest: Any, **options: Any) -> mx.array:
    """Compute an operation that treats every token (row of the last axis) alike."""
    return parallel(lambda x: definition(x, *rest, **options), x, axis=1 if x.ndim > 2 else 0)


def attention(
    definition: Definition, query: mx.array, key: mx.array, value: mx.array, *rest: Any, **options: Any
) -> mx.array:
    """Compute attention, heads in parallel."""
    return parallel(lambda *heads: definition(*heads, *rest, **options), query, key, value, axis=1)


def matmul(definition: Definition, a: mx.array, b: mx.array) -> mx.array:
    """Multiply, columns in parallel."""
    return parallel(lambda b: definition(a, b), b, axis=b.ndim - 1)


def resize_by_weights(definition: Definition, x: mx.array, rows: mx.array, columns: mx.array) -> mx.array:
    """Mix columns, rows of the map in parallel; then rows, columns and channels in parallel."""
    batch, height, _, channels = x.shape
    across = parallel(lambda x: columns @ x, x, axis=1).reshape(batch, height, -1)
    return parallel(lambda x: rows @ x, across, axis=2).reshape(batch, len(rows), len(columns), channels)


def planes(definition: Definition, x: mx.array, points: mx.array) -> mx.array:
    """Sample points, planes in parallel."""
    if len(x) == len(points) > 1:
        return parallel(definition, x, points, axis=0)
    return parallel(lambda x: definition(x, points), x, axis=1)

"""Operations on tokens, heads and masks that are as they are defined, cut for all cores."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_mlx.backends.cpu.parallel import parallel

Definition = Callable[..., mx.array]


def by_token(definition: Definition, x: mx.array, *rest: Any, **options: Any) -> mx.array:
    """Compute an operation that treats every token alike, tokens in parallel.

    Args:
        definition: the operation.
        x: (..., C), a token in each row of the last axis.
        *rest: its other arguments.
        **options: its arguments by name.

    Returns:
        What the definition returns, (..., outputs).
    """
    return parallel(lambda x: definition(x, *rest, **options), x, axis=1 if x.ndim > 2 else 0)


def attention(
    definition: Definition, query: mx.array, key: mx.array, value: mx.array, *rest: Any, **options: Any
) -> mx.array:
    """Compute `ops.attention`, heads in parallel; arguments and result as there."""
    return parallel(lambda *heads: definition(*heads, *rest, **options), query, key, value, axis=1)


def matmul(definition: Definition, a: mx.array, b: mx.array) -> mx.array:
    """Compute `ops.matmul`, columns in parallel; arguments and result as there."""
    return parallel(lambda b: definition(a, b), b, axis=b.ndim - 1)


def mask_losses(definition: Definition, mask_logits: mx.array, points: mx.array, labels: mx.array) -> mx.array:
    """Compute `ops.mask_losses`, masks in parallel; arguments and result as there."""
    return parallel(
        lambda points, logits, labels: definition(logits, points, labels), points, mask_logits, labels, axis=0
    )


def resize_by_weights(definition: Definition, x: mx.array, rows: mx.array, columns: mx.array) -> mx.array:
    """Compute `ops.resize_by_weights`, first columns, then rows, each in parallel; arguments and result as there."""
    batch, height, _, channels = x.shape
    across = parallel(lambda x: columns @ x, x, axis=1).reshape(batch, height, -1)
    return parallel(lambda x: rows @ x, across, axis=2).reshape(batch, len(rows), len(columns), channels)


def point_sample(definition: Definition, planes: mx.array, points: mx.array) -> mx.array:
    """Compute `ops.point_sample`, planes in parallel; arguments and result as there."""
    if len(planes) == len(points) > 1:
        return parallel(definition, planes, points, axis=0)
    return parallel(lambda planes: definition(planes, points), planes, axis=1)

"""Scaled dot-product attention with several heads (Vaswani et al. 2017, section 3.2)."""

import math
from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends import accelerated
from lucid_mlx.ops.softmax import softmax

Layer = Callable[[mx.array], mx.array]


def attention_weights(query: mx.array, key: mx.array, mask: mx.array | None = None) -> mx.array:
    """Return softmax(Q K^T / sqrt(d)).

    Args:
        query: (B, heads, Q, d).
        key: (B, heads, S, d).
        mask: (B, Q, S) bool, True where a query attends; everywhere if None.

    Returns:
        (B, heads, Q, S).
    """
    scores = (query / math.sqrt(query.shape[-1])) @ key.swapaxes(-1, -2)
    if mask is not None:
        scores = mx.where(mask[:, None], scores, mx.finfo(scores.dtype).min)
    return softmax(scores)


@accelerated
def attention(
    query: mx.array, key: mx.array, value: mx.array, mask: mx.array | None = None, dropout: Layer | None = None
) -> mx.array:
    """Return softmax(Q K^T / sqrt(d)) V.

    Args:
        query: (B, heads, Q, d).
        key: (B, heads, S, d).
        value: (B, heads, S, d).
        mask: (B, Q, S) bool, True where a query attends; everywhere if None.
        dropout: of the attention weights in training; none if None.

    Returns:
        (B, heads, Q, d).
    """
    weights = attention_weights(query, key, mask)
    return (weights if dropout is None else dropout(weights)) @ value

"""Attention with few passes over the scores, and heads that become tokens without a copy.

MLX's matrix product scales, adds an array of any strides and reads transposed factors as they are. So scores are scaled
and masked as they are computed; and the mixed values are computed transposed, (..., d, Q), which seen by tokens is
(..., Q, C) with one stride, as the product that follows wants it.
"""

import math
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

Definition = Callable[..., mx.array]
Layer = Callable[[mx.array], mx.array]


def attention(
    definition: Definition,
    query: mx.array,
    key: mx.array,
    value: mx.array,
    mask: mx.array | None = None,
    dropout: Layer | None = None,
) -> mx.array:
    """Compute `ops.attention`; arguments and result as there."""
    added = mx.zeros((), query.dtype)
    if mask is not None:
        # Half of the least number: a score is added to it.
        added = mx.where(mask[:, None], added, 0.5 * mx.finfo(query.dtype).min)
    weights = mx.softmax(_scores(query, key, added), axis=-1, precise=True)
    return _mixed(weights if dropout is None else dropout(weights), value).swapaxes(-1, -2)


def window_attention(
    definition: Definition,
    x: mx.array,
    qkv: Layer,
    projection: Layer,
    heads: int,
    bias: mx.array,
    mask: mx.array | None = None,
) -> mx.array:
    """Compute `ops.window_attention`; arguments and result as there."""
    batch, windows, tokens, dim = x.shape
    split = qkv(x).reshape(batch, windows, tokens, 3, heads, dim // heads)
    query, key, value = split.transpose(3, 0, 1, 4, 2, 5)
    added = bias if mask is None else bias + mask[:, None].astype(bias.dtype)
    weights = mx.softmax(_scores(query, key, added), axis=-1, precise=True)
    mixed = _mixed(weights, value).reshape(batch, windows, dim, tokens).swapaxes(-1, -2)
    if isinstance(projection, nn.Linear) and "bias" in projection:
        # With a batch axis of its own the weight is multiplied window by window, which takes the tokens as they lie.
        return mx.addmm(projection.bias, mixed, projection.weight.T[None, None])
    return projection(mixed)


def _scores(query: mx.array, key: mx.array, added: mx.array) -> mx.array:
    return mx.addmm(added, query, key.swapaxes(-1, -2), alpha=1.0 / math.sqrt(query.shape[-1]))


def _mixed(weights: mx.array, value: mx.array) -> mx.array:
    """(..., Q, S) and (..., S, d) -> (..., d, Q)."""
    return value.swapaxes(-1, -2) @ weights.swapaxes(-1, -2)

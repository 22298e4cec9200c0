"""Attention within windows, laid out for the CPU's products and cut for all cores."""

import math
from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends.cpu.parallel import parallel
from lucid_mlx.backends.cpu.softmax import softmax_of_rows

Layer = Callable[[mx.array], mx.array]


def window_attention(
    definition: Callable[..., mx.array],
    x: mx.array,
    qkv: Layer,
    projection: Layer,
    heads: int,
    bias: mx.array,
    mask: mx.array | None = None,
) -> mx.array:
    """Compute `ops.window_attention` in float32; arguments and result as there."""
    batch, _, tokens, dim = x.shape
    size = dim // heads

    def attend(x: mx.array, mask: mx.array | None = None) -> mx.array:
        windows = x.shape[1]
        # Heads first, each with all its tokens in one piece: the products below need no copies of their own.
        packed = qkv(x).reshape(batch * windows * tokens, 3 * heads, size).swapaxes(0, 1)
        query, key, value = mx.contiguous(packed).reshape(3, heads, batch, windows, tokens, size)
        added = bias[:, None, None] if mask is None else bias[:, None, None] + mask
        scores = (query * (1.0 / math.sqrt(size))) @ key.swapaxes(-1, -2) + added
        mixed = softmax_of_rows(scores) @ value
        return projection(mixed.transpose(1, 2, 3, 0, 4).reshape(batch, windows, tokens, dim))

    masks = [] if mask is None else [mask[None]]
    return parallel(attend, x, *masks, axis=1)

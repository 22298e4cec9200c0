"""Windows of a map, and attention within them (Swin Transformer, Liu et al., ICCV 2021, section 3.2)."""

import math
from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends import accelerated
from lucid_mlx.ops.softmax import softmax

Layer = Callable[[mx.array], mx.array]


@accelerated
def window_partition(x: mx.array, window: int, shift: int) -> mx.array:
    """Cut maps into windows, after a cyclic shift.

    Maps are padded with zeros at the right and below to whole windows before the shift.

    Args:
        x: (B, H, W, C).
        window: rows and columns of a window.
        shift: rows and columns by which maps move up and to the left.

    Returns:
        (B, windows, window^2, C).
    """
    batch, height, width, channels = x.shape
    x = mx.pad(x, [(0, 0), (0, -height % window), (0, -width % window), (0, 0)])
    if shift:
        x = mx.roll(mx.roll(x, -shift, 1), -shift, 2)
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.reshape(batch, rows, window, columns, window, channels).swapaxes(2, 3)
    return x.reshape(batch, rows * columns, window * window, channels)


@accelerated
def window_merge(windows: mx.array, size: tuple[int, int], window: int, shift: int) -> mx.array:
    """Put windows back together, the inverse of `window_partition`.

    Args:
        windows: (B, windows, window^2, C).
        size: height and width of the maps.
        window: rows and columns of a window.
        shift: as they were cut with.

    Returns:
        (B, height, width, C).
    """
    batch, _, _, channels = windows.shape
    rows, columns = (-(-side // window) for side in size)
    x = windows.reshape(batch, rows, columns, window, window, channels).swapaxes(2, 3)
    x = x.reshape(batch, rows * window, columns * window, channels)
    if shift:
        x = mx.roll(mx.roll(x, shift, 1), shift, 2)
    return x[:, : size[0], : size[1]]


@accelerated
def window_attention(
    x: mx.array, qkv: Layer, projection: Layer, heads: int, bias: mx.array, mask: mx.array | None = None
) -> mx.array:
    """Attend within windows: softmax(Q K^T / sqrt(d) + B) V, projected.

    Args:
        x: (B, windows, tokens, C).
        qkv: (..., C) to (..., 3 C): queries, keys and values one after the other, each by heads.
        projection: (..., C) to (..., C).
        heads: how many.
        bias: (heads, tokens, tokens), B, of relative positions.
        mask: (windows, tokens, tokens), added to the scores too; none if None.

    Returns:
        (B, windows, tokens, C).
    """
    batch, windows, tokens, dim = x.shape
    size = dim // heads
    query, key, value = qkv(x).reshape(batch, windows, tokens, 3, heads, size).transpose(3, 0, 1, 4, 2, 5)
    scores = (query / math.sqrt(size)) @ key.swapaxes(-1, -2) + bias
    if mask is not None:
        scores = scores + mask[:, None].astype(scores.dtype)
    return projection((softmax(scores) @ value).swapaxes(2, 3).reshape(x.shape))

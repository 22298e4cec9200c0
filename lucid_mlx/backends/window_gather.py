"""Maps cut into windows and back, each way in one gather instead of padding, two rolls and a transpose."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.device import device
from lucid_mlx.backends.gradient import WithGradient

Definition = Callable[..., mx.array]


def window_partition(definition: Definition, x: mx.array, window: int, shift: int) -> mx.array:
    """Compute `ops.window_partition`; arguments and result as there."""
    batch, height, width, channels = x.shape
    tokens = _partition(x.reshape(-1, channels), *_order(batch, height, width, window, shift))
    return tokens.reshape(batch, -1, window * window, channels)


def window_merge(definition: Definition, windows: mx.array, size: tuple[int, int], window: int, shift: int) -> mx.array:
    """Compute `ops.window_merge`; arguments and result as there."""
    batch, _, _, channels = windows.shape
    tokens = _merge(windows.reshape(-1, channels), *_order(batch, *size, window, shift))
    return tokens.reshape(batch, *size, channels)


class _Order(NamedTuple):
    """Where tokens go when maps, shifted up and to the left, are cut into windows.

    Attributes:
        tokens: of each position in the windows the token, (positions,) int32: row after row of map after map; the next
            number after the last stands for padding.
        positions: of each token the position, (tokens,) int32.
        some_token: as `tokens`, with an arbitrary token in place of padding.
        padding: the positions that are padding, (paddings,) int32.
    """

    tokens: mx.array
    positions: mx.array
    some_token: mx.array
    padding: mx.array


@lru_cache(maxsize=32)
def _order(batch: int, height: int, width: int, window: int, shift: int) -> _Order:
    rows, columns = (-(-side // window) * window for side in (height, width))
    count = batch * height * width
    tokens = np.full((batch, rows, columns), count, np.int32)
    tokens[:, :height, :width] = np.arange(count).reshape(batch, height, width)
    tokens = np.roll(tokens, (-shift, -shift), (1, 2))
    windows = tokens.reshape(batch, rows // window, window, columns // window, window).swapaxes(2, 3).ravel()
    positions, padding = np.argsort(windows, kind="stable")[:count], np.flatnonzero(windows == count)
    some = np.minimum(windows, count - 1)
    return _Order(*(mx.array(x.astype(np.int32)) for x in (windows, positions, some, padding)))


def _gather(tokens: mx.array, *order: mx.array) -> mx.array:
    place, _, some_token, padding = order
    if not padding.size:
        return mx.take(tokens, place, axis=0)
    if device() == "gpu":  # which overwrites few rows in place; a CPU copies all
        windows = mx.take(tokens, some_token, axis=0)
        windows[padding] = mx.array(0.0, tokens.dtype)
        return windows
    return mx.take(mx.concatenate([tokens, mx.zeros((1, tokens.shape[1]), tokens.dtype)]), place, axis=0)


def _gather_back(windows: mx.array, *order: mx.array) -> mx.array:
    return mx.take(windows, order[1], axis=0)


def _gradient(primals: tuple[mx.array, ...], cotangent: mx.array, output: mx.array) -> tuple[mx.array, ...]:
    order = primals[1:]
    return _merge(cotangent, *order), *map(mx.zeros_like, order)


def _gradient_back(primals: tuple[mx.array, ...], cotangent: mx.array, output: mx.array) -> tuple[mx.array, ...]:
    order = primals[1:]
    return _partition(cotangent, *order), *map(mx.zeros_like, order)


# Each is the other's gradient; MLX's own would add one number at a time.
_partition = WithGradient(_gather, _gradient)
_merge = WithGradient(_gather_back, _gradient_back)

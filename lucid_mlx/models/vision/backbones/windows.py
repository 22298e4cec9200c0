"""The tokens of a map by windows and back, each way in one gather."""

from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np


@lru_cache(maxsize=32)
def window_order(batch: int, height: int, width: int, window: int, shift: int) -> tuple[mx.array, mx.array]:
    """Tell where tokens go when maps, shifted up and to the left, are cut into windows.

    What the maps lack at the right and below to whole windows is padding, that comes before the shift.

    Returns:
        The token of each place in the windows, (places,) int32: row after row of map after map, the next number after
        the last stands for padding; and the place of each token, (batch * height * width,) int32.
    """
    rows, columns = (-(-side // window) * window for side in (height, width))
    count = batch * height * width
    tokens = np.full((batch, rows, columns), count, np.int32)
    tokens[:, :height, :width] = np.arange(count).reshape(batch, height, width)
    tokens = np.roll(tokens, (-shift, -shift), (1, 2))
    windows = tokens.reshape(batch, rows // window, window, columns // window, window).swapaxes(2, 3).ravel()
    return mx.array(windows), mx.array(np.argsort(windows, kind="stable")[:count].astype(np.int32))


def to_windows(tokens: mx.array, order: mx.array, places: mx.array) -> mx.array:
    """Return what stands at each place in the windows, (places, C); padding is zero.

    Args:
        tokens: (batch * height * width, C).
        order, places: of `window_order`.
    """
    return _to_windows(tokens, order, places)


def from_windows(windows: mx.array, order: mx.array, places: mx.array) -> mx.array:
    """Return the tokens of windows, (batch * height * width, C), in the maps' order; arguments as of `to_windows`."""
    return _from_windows(windows, order, places)


def _gather(tokens: mx.array, order: mx.array, places: mx.array) -> mx.array:
    if len(order) > len(places):
        tokens = mx.concatenate([tokens, mx.zeros((1, tokens.shape[1]), tokens.dtype)])
    return mx.take(tokens, order, axis=0)


def _gather_back(windows: mx.array, order: mx.array, places: mx.array) -> mx.array:
    return mx.take(windows, places, axis=0)


Gradients = tuple[mx.array, mx.array, mx.array]


def _gradient(primals: tuple[mx.array, mx.array, mx.array], cotangent: mx.array, output: mx.array) -> Gradients:
    _, order, places = primals
    return from_windows(cotangent, order, places), mx.zeros_like(order), mx.zeros_like(places)


def _gradient_back(primals: tuple[mx.array, mx.array, mx.array], cotangent: mx.array, output: mx.array) -> Gradients:
    _, order, places = primals
    return to_windows(cotangent, order, places), mx.zeros_like(order), mx.zeros_like(places)


# Each is the other's gradient; MLX's own would add one number at a time.
_to_windows: Any = mx.custom_function(_gather)
_to_windows.vjp(_gradient)
_from_windows: Any = mx.custom_function(_gather_back)
_from_windows.vjp(_gradient_back)

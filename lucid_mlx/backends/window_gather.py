"""Maps cut into windows and back, each way in one gather instead of padding, two rolls and a transpose."""

from collections.abc import Callable
from functools import lru_cache

import mlx.core as mx
import numpy as np

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


@lru_cache(maxsize=32)
def _order(batch: int, height: int, width: int, window: int, shift: int) -> tuple[mx.array, mx.array]:
    """Tell where tokens go when maps, shifted up and to the left, are cut into windows.

    Returns:
        The token of each position in the windows, (positions,) int32: row after row of map after map, the next number
        after the last stands for padding; and the position of each token, (batch * height * width,) int32.
    """
    rows, columns = (-(-side // window) * window for side in (height, width))
    count = batch * height * width
    tokens = np.full((batch, rows, columns), count, np.int32)
    tokens[:, :height, :width] = np.arange(count).reshape(batch, height, width)
    tokens = np.roll(tokens, (-shift, -shift), (1, 2))
    windows = tokens.reshape(batch, rows // window, window, columns // window, window).swapaxes(2, 3).ravel()
    return mx.array(windows), mx.array(np.argsort(windows, kind="stable")[:count].astype(np.int32))


def _gather(tokens: mx.array, order: mx.array, positions: mx.array) -> mx.array:
    if len(order) > len(positions):
        tokens = mx.concatenate([tokens, mx.zeros((1, tokens.shape[1]), tokens.dtype)])
    return mx.take(tokens, order, axis=0)


def _gather_back(windows: mx.array, order: mx.array, positions: mx.array) -> mx.array:
    return mx.take(windows, positions, axis=0)


Gradients = tuple[mx.array, mx.array, mx.array]


def _gradient(primals: tuple[mx.array, mx.array, mx.array], cotangent: mx.array, output: mx.array) -> Gradients:
    _, order, positions = primals
    return _merge(cotangent, order, positions), mx.zeros_like(order), mx.zeros_like(positions)


def _gradient_back(primals: tuple[mx.array, mx.array, mx.array], cotangent: mx.array, output: mx.array) -> Gradients:
    _, order, positions = primals
    return _partition(cotangent, order, positions), mx.zeros_like(order), mx.zeros_like(positions)


# Each is the other's gradient; MLX's own would add one number at a time.
_partition = WithGradient(_gather, _gradient)
_merge = WithGradient(_gather_back, _gradient_back)

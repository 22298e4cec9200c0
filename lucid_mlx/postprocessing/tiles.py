"""Maps of the photo's size, a tile at a time.

Between the mask logits and a result lie maps of the photo's size for every query: 19 GB for 200 queries at
6000x4000. Each tile is made, used and forgotten.

Resizing is linear and each axis mixes few neighbors, so that two resizes, one after the other, are a single small
product along each axis. Inside a tile queries or classes come last, (height, width, channels): then rows and columns
are products with a few long rows, and a pixel's channels lie together for the sum over queries and the argmax.
"""

from collections.abc import Iterator
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import tile_size
from lucid_mlx.ops.resize import interpolation_weights
from lucid_mlx.postprocessing.inputs import View

AxisWeights = tuple[mx.array, mx.array]
Part = tuple[slice, slice]


class Tile(NamedTuple):
    """A part of the result, and all that it is made of.

    Attributes:
        part: its rows and columns.
        logits: the mask logits, (height, width, channels), at the tile's size; or at the network's input, if the tile
            stops there.
        to_result: the weights of rows and columns that resize what is made of these to the tile's size; none if it
            has that size.
    """

    part: Part
    logits: mx.array
    to_result: AxisWeights | None


class _Band(NamedTuple):
    part: slice
    cells: mx.array
    weights: list[mx.array]


def resize(x: mx.array, weights: AxisWeights) -> mx.array:
    """Mix rows and columns of a map, (height, width, channels)."""
    rows, columns = weights
    _, width, channels = x.shape
    x = (rows @ x.reshape(-1, width * channels)).reshape(-1, width, channels)
    return columns @ x


def tiles(masks: mx.array, view: View, channels: int, stop_at_input: bool = False) -> Iterator[Tile]:
    """Cut a result into tiles.

    Args:
        masks: (Q, h, w), mask logits.
        view: the sizes.
        channels: the most values for each pixel that will be made of a tile.
        stop_at_input: leave the resize to the network's input and the resize to the result two steps, so that what
            is not linear can come between; one step if False.
    """
    tile_bytes, columns = tile_size()
    rows = max(1, tile_bytes // (4 * channels * min(columns, view.size[1])))
    masks = mx.contiguous(masks.transpose(1, 2, 0))
    across = list(_bands(masks.shape[1], view, 1, columns, stop_at_input))
    for down in _bands(masks.shape[0], view, 0, rows, stop_at_input):
        strip = masks[down.cells]
        for band in across:
            first, *rest = zip(down.weights, band.weights, strict=True)
            yield Tile((down.part, band.part), resize(strip[:, band.cells], first), rest[0] if rest else None)


def axis_weights(cells: int, view: View, axis: int) -> np.ndarray:
    """Return the (size, cells) float32 weights of both resizes together along an axis of the mask logits."""
    to_input, content_size, size = _axis(cells, view, axis)
    parts = (slice(first, first + 1024) for first in range(0, size, 1024))
    return np.concatenate(
        [
            (interpolation_weights(content_size, size, content_size, part) @ to_input).astype(np.float32)
            for part in parts
        ]
    )


def _axis(cells: int, view: View, axis: int) -> tuple[np.ndarray, int, int]:
    input_size, content_size, size = (sizes[axis] for sizes in view)
    return interpolation_weights(cells, input_size, cells, slice(content_size)), content_size, size


def _bands(cells: int, view: View, axis: int, step: int, stop_at_input: bool) -> Iterator[_Band]:
    to_input, content_size, size = _axis(cells, view, axis)
    for first in range(0, size, step):
        part = slice(first, min(first + step, size))
        steps = [interpolation_weights(content_size, size, content_size, part)]
        if stop_at_input:
            pixels, steps[0] = _used(steps[0])
            steps.insert(0, to_input[pixels])
        else:
            steps[0] = steps[0] @ to_input
        used, steps[0] = _used(steps[0])
        yield _Band(part, mx.array(used), [mx.array(weights.astype(np.float32)) for weights in steps])


def _used(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs that any output mixes, and the weights of those alone."""
    used = np.flatnonzero(weights.any(axis=0))
    return used, weights[:, used]

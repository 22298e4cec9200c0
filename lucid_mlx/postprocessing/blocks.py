"""Which outputs of two resizes in a row mix which inputs, along one axis.

A result's pixel mixes at most two pixels of the network's input, each of which mixes at most two cells of the mask
logits. So the outputs fall into blocks whose pixels mix the same few cells, and a block into steps whose outputs lie
between the same two input pixels.
"""

from typing import NamedTuple

import numpy as np

from lucid_mlx.ops.resize import bilinear_samples
from lucid_mlx.postprocessing.inputs import ImageSizes

PARTS = 4  # into which a step is cut


class Blocks(NamedTuple):
    """The outputs along one axis of a result, cut into G blocks. Rows that are shorter repeat their last entry.

    Attributes:
        lengths: (G,), number of outputs of each block.
        cells: (G, cells), the mask logits that the outputs of a block mix.
        pixels: (G, pixels), the pixels of the input that they mix.
        pixel_weights: (G, pixels, cells) float32, how much each pixel takes of each cell.
        outputs: (G, steps, outputs), the outputs between two pixels that follow each other; -1 for none.
        output_weights: (G, steps, outputs, 2) float32, how much each output takes of the two pixels.
    """

    lengths: np.ndarray
    cells: np.ndarray
    pixels: np.ndarray
    pixel_weights: np.ndarray
    outputs: np.ndarray
    output_weights: np.ndarray

    def choose(self, blocks: np.ndarray) -> "Blocks":
        """Return some of the blocks, by number."""
        return Blocks(*(field[blocks] for field in self))


class Parts(NamedTuple):
    """The outputs of N steps, each cut into parts.

    Attributes:
        lengths: (N, parts), number of outputs of each part.
        outputs: (N, parts, outputs); -1 for none.
        weights: (N, parts, outputs, 2) float32.
        ends: (N, parts, 2, 2) float32, the weights of the first and of the last output of each part.
    """

    lengths: np.ndarray
    outputs: np.ndarray
    weights: np.ndarray
    ends: np.ndarray

    def choose(self, steps: np.ndarray, parts: np.ndarray) -> "Steps":
        """Return some of the parts.

        Args:
            steps: (M,) int, the numbers of their steps.
            parts: (M,) int, the numbers in these.

        Returns:
            M steps.
        """
        return Steps(self.outputs[steps, parts], self.weights[steps, parts])


class Steps(NamedTuple):
    """The outputs along one axis that lie between two pixels of the input, for N pairs of pixels.

    Attributes:
        outputs: (N, outputs), first those that there are; -1 for none.
        weights: (N, outputs, 2) float32, how much each output takes of the two pixels.
    """

    outputs: np.ndarray
    weights: np.ndarray

    def split(self) -> Parts:
        """Cut each step into `PARTS` parts, or into single outputs."""
        n, length = self.outputs.shape
        size = -(-length // PARTS)
        more = -length % size
        outputs = np.pad(self.outputs, ((0, 0), (0, more)), constant_values=-1).reshape(n, -1, size)
        weights = np.pad(self.weights, ((0, 0), (0, more), (0, 0))).reshape(n, -1, size, 2)
        lengths = (outputs >= 0).sum(axis=2)
        last = np.take_along_axis(weights, np.maximum(lengths - 1, 0)[:, :, None, None], axis=2)
        return Parts(lengths, outputs, weights, np.concatenate([weights[:, :, :1], last], axis=2))


def axis_blocks(length: int, sizes: ImageSizes, axis: int) -> Blocks:
    """Cut an axis of a result into blocks.

    Args:
        length: length of the axis of the mask logits.
        sizes: the sizes of the image.
        axis: 0 for rows, 1 for columns.

    Returns:
        The blocks.
    """
    input_length, content, target = (size[axis] for size in sizes)
    low_cell, high_cell, high_cell_weight = bilinear_samples(length, input_length, length, slice(content))
    low_pixel, high_pixel, high_pixel_weight = bilinear_samples(content, target, content)
    # At the start the lower cell is missing, so that the higher one begins a block too.
    cells_of_outputs = np.stack([low_cell[low_pixel], high_cell[low_pixel]])
    starts = np.flatnonzero(np.diff(cells_of_outputs, prepend=-1).any(axis=0))
    ends = np.append(starts[1:], target)

    cells = _ranges(low_cell[low_pixel[starts]], high_cell[high_pixel[ends - 1]], at_least=1)
    pixels = _ranges(low_pixel[starts], high_pixel[ends - 1], at_least=2)
    pixel_weights = np.zeros((*pixels.shape, cells.shape[1]), np.float32)
    first = cells[:, :1]
    _add(pixel_weights, low_cell[pixels] - first, 1.0 - high_cell_weight[pixels])
    _add(pixel_weights, high_cell[pixels] - first, high_cell_weight[pixels])

    steps = pixels.shape[1] - 1
    block = np.repeat(np.arange(len(starts)), ends - starts)
    step = np.minimum(low_pixel - pixels[block, 0], steps - 1)
    counts = np.bincount(block * steps + step, minlength=len(starts) * steps)
    outputs = np.full((len(counts), counts.max()), -1)
    outputs[np.arange(counts.max()) < counts[:, None]] = np.arange(target)
    outputs = outputs.reshape(len(starts), steps, -1)
    output_weights = np.zeros((*outputs.shape, 2), np.float32)
    first = pixels[:, :1, None] + np.arange(steps)[:, None]
    _add(output_weights, np.clip(low_pixel[outputs] - first, 0, 1), 1.0 - high_pixel_weight[outputs])
    _add(output_weights, np.clip(high_pixel[outputs] - first, 0, 1), high_pixel_weight[outputs])
    return Blocks(ends - starts, cells, pixels, pixel_weights, outputs, output_weights)


def _ranges(first: np.ndarray, last: np.ndarray, at_least: int) -> np.ndarray:
    """Return the whole numbers of each range, (N, the longest's or `at_least`); shorter ones repeat their last."""
    length = max(int((last - first).max()) + 1, at_least)
    return np.minimum(first[:, None] + np.arange(length), last[:, None])


def _add(weights: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    """Add a value at a place of each row of weights."""
    flat = weights.reshape(-1, weights.shape[-1])
    flat[np.arange(len(flat)), places.ravel()] += values.ravel().astype(np.float32)

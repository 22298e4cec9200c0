"""Results at the size of a photo, computed only where they are not plain from the mask logits around.

The mask logit of a result's pixel is a mean of few mask logits that lie around it, with weights that add up to one,
since two bilinear resizes in a row made it. So it lies between the least and the largest of them. What follows from
these bounds for a block of pixels, such as the class of all of them, is not computed for each.

What stays open, at the borders of segments, is decided in two more steps: by the logits at the pixels of the network's
input, between which the result's pixels lie, and then pixel by pixel.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, NamedTuple, Protocol

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import tile_size
from lucid_mlx.postprocessing.blocks import Blocks, axis_blocks
from lucid_mlx.postprocessing.inputs import ImageSizes

MOST_OPEN = 0.5  # of the blocks; if more are open, plain computing is as fast
FEWEST_PIXELS = 4  # of a block on average, for the same reason


class Decision(NamedTuple):
    """What bounds tell of N groups of pixels.

    Attributes:
        values: (N,) int, the value of all pixels of a group, if it is decided.
        decided: (N,) bool.
        least: (N,) float32, what the score of the value is at least.
    """

    values: np.ndarray
    decided: np.ndarray
    least: np.ndarray


class Rule(Protocol):
    """How a pixel's value follows from its mask logits."""

    def coarse(self) -> tuple["Rule", np.ndarray] | None:
        """Look for a rule that decides nearly as much from few queries.

        Returns:
            The rule and the numbers of its queries, (few,) int; None if there is none.
        """

    def decide(self, low: mx.array, high: mx.array, areas: np.ndarray) -> Decision:
        """Decide groups of pixels.

        Args:
            low: (N, Q), the least logit of each query in each group.
            high: (N, Q), the largest.
            areas: (N,) int, how many pixels each group has.

        Returns:
            The decision.
        """

    def for_scores(self, least: float) -> "Rule":
        """Look for a rule that takes less work where scores are high.

        Args:
            least: what the best score of each pixel is at least.

        Returns:
            The rule for such pixels.
        """

    def mix(self, logits: mx.array) -> mx.array:
        """Compute what is resized from the network's input to the result.

        Args:
            logits: (N, Q), of pixels of the input.

        Returns:
            (N, ...).
        """

    def decide_between(self, mixed: mx.array, areas: np.ndarray) -> Decision:
        """Decide the pixels that lie between four neighbors.

        Args:
            mixed: (B, H, W, ...), what is resized.
            areas: (B * (H - 1) * (W - 1),) int, how many pixels lie there.

        Returns:
            The decision.
        """

    def values(self, mixed: mx.array, counts: np.ndarray) -> np.ndarray:
        """Compute pixels.

        Args:
            mixed: (N, ...), what was resized.
            counts: (N,) int or bool, how many pixels each stands for.

        Returns:
            (N,) int.
        """


def pruned_map(
    mask_logits: mx.array, sizes: ImageSizes, rule: Rule, dtype: np.dtype[np.integer[Any]]
) -> np.ndarray | None:
    """Compute a value for each pixel of a result.

    Args:
        mask_logits: (Q, h, w).
        sizes: the sizes of the image.
        rule: how a pixel's value follows from its mask logits.
        dtype: of the values.

    Returns:
        (height, width); None if bounds decide too little, so that all is to be computed in the plain way.
    """
    rows, columns = (axis_blocks(mask_logits.shape[1 + axis], sizes, axis) for axis in (0, 1))
    shape = len(rows.lengths), len(columns.lengths)
    if FEWEST_PIXELS * shape[0] * shape[1] > sizes.target_size[0] * sizes.target_size[1]:
        return None
    logits = mx.contiguous(mask_logits.transpose(1, 2, 0))
    if coarse := rule.coarse():
        decision = _decide_blocks(logits[..., mx.array(coarse[1])], rows, columns, coarse[0])
        _decide_again(decision, logits, rows, columns, rule)
    else:
        decision = _decide_blocks(logits, rows, columns, rule)
    waiting = np.flatnonzero(~decision.decided)
    if len(waiting) > MOST_OPEN * len(decision.decided):
        return None
    values = decision.values.reshape(shape).astype(dtype)
    result = np.repeat(np.repeat(values, columns.lengths, axis=1), rows.lengths, axis=0)
    waiting = waiting[np.argsort(decision.least[waiting])[::-1]]
    for some in _chunks(waiting, logits.shape[2] * rows.pixels.shape[1] * columns.pixels.shape[1]):
        chosen = _choose(rows, columns, some)
        some_rule = rule.for_scores(float(decision.least[some[-1]]))
        if sizes.content_size == sizes.target_size:
            _fill_pixels(result, logits, *chosen, some_rule)
        else:
            _fill_between(result, logits, *chosen, some_rule)
    return result


def between(function: Callable[..., mx.array], x: mx.array) -> mx.array:
    """Reduce each four neighbors.

    Args:
        function: such as `mx.minimum`.
        x: (B, H, W, C).

    Returns:
        (B * (H - 1) * (W - 1), C).
    """
    x = function(x[:, :-1], x[:, 1:])
    x = function(x[:, :, :-1], x[:, :, 1:])
    return x.reshape(-1, x.shape[3])


def _chunks(numbers: np.ndarray, values: int) -> Iterator[np.ndarray]:
    """Cut numbers into chunks, each of which takes a tile's memory at `values` float32 values a number."""
    step = max(1, tile_size()[0] // values)
    for start in range(0, len(numbers), step):
        yield numbers[start : start + step]


def _decide_blocks(logits: mx.array, rows: Blocks, columns: Blocks, rule: Rule) -> Decision:
    """Decide all blocks by the mask logits that they mix, some rows of blocks at a time."""
    decisions = []
    queries = logits.shape[2]
    for some in _chunks(np.arange(len(rows.lengths)), len(columns.lengths) * queries):
        strips = [logits[mx.array(cells)] for cells in rows.cells[some].T]
        low, high = (
            reduce(extreme, [reduce(extreme, strips)[:, mx.array(cells)] for cells in columns.cells.T])
            for extreme in (mx.minimum, mx.maximum)
        )
        areas = np.outer(rows.lengths[some], columns.lengths).ravel()
        decisions.append(rule.decide(low.reshape(-1, queries), high.reshape(-1, queries), areas))
    return Decision(*map(np.concatenate, zip(*decisions, strict=True)))


def _decide_again(decision: Decision, logits: mx.array, rows: Blocks, columns: Blocks, rule: Rule) -> None:
    """Decide what a coarse rule left open."""
    per_block = rows.cells.shape[1] * columns.cells.shape[1]
    for some in _chunks(np.flatnonzero(~decision.decided), per_block * logits.shape[2]):
        chosen = _choose(rows, columns, some)
        cells = _cell_logits(logits, *chosen).reshape(len(some), per_block, -1)
        areas = chosen[0].lengths * chosen[1].lengths
        for old, new in zip(decision, rule.decide(cells.min(axis=1), cells.max(axis=1), areas), strict=True):
            old[some] = new


def _choose(rows: Blocks, columns: Blocks, numbers: np.ndarray) -> tuple[Blocks, Blocks]:
    """Return the rows and the columns of blocks by number, counted row by row."""
    row, column = np.divmod(numbers, len(columns.lengths))
    return rows.choose(row), columns.choose(column)


def _cell_logits(logits: mx.array, rows: Blocks, columns: Blocks) -> mx.array:
    """Return the mask logits that N blocks mix, (N, rows, columns, Q)."""
    return logits[mx.array(rows.cells)[:, :, None], mx.array(columns.cells)[:, None]]


def _pixel_logits(logits: mx.array, rows: Blocks, columns: Blocks) -> mx.array:
    """Return the logits at the pixels of the input that N blocks mix, (N, rows, columns, Q)."""
    queries = logits.shape[2]
    n, height, row_cells = rows.pixel_weights.shape
    column_cells = columns.pixel_weights.shape[2]
    cells = _cell_logits(logits, rows, columns).reshape(n, row_cells, column_cells * queries)
    strips = mx.array(rows.pixel_weights) @ cells
    return mx.array(columns.pixel_weights)[:, None] @ strips.reshape(n, height, column_cells, queries)


def _fill_pixels(result: np.ndarray, logits: mx.array, rows: Blocks, columns: Blocks, rule: Rule) -> None:
    """Compute N blocks of a result that has the size of the input."""
    x = _pixel_logits(logits, rows, columns)
    # A block that has fewer pixels than the largest repeats its last one.
    present = [np.arange(axis.pixels.shape[1]) < axis.lengths[:, None] for axis in (rows, columns)]
    counts = present[0][:, :, None] & present[1][:, None]
    values = rule.values(rule.mix(x.reshape(-1, x.shape[3])), counts.ravel())
    result[rows.pixels[:, :, None], columns.pixels[:, None]] = values.reshape(counts.shape)


def _fill_between(result: np.ndarray, logits: mx.array, rows: Blocks, columns: Blocks, rule: Rule) -> None:
    """Decide what lies between the pixels of the input in N blocks, and compute what that leaves open."""
    x = _pixel_logits(logits, rows, columns)
    n, height, width, queries = x.shape
    mixed = rule.mix(x.reshape(-1, queries))
    areas = np.einsum("nr,nc->nrc", *((axis.outputs >= 0).sum(axis=2) for axis in (rows, columns)))
    decision = rule.decide_between(mixed.reshape(n, height, width, -1), areas.ravel())
    block, row, column = np.unravel_index(np.arange(areas.size), areas.shape)
    decided = decision.decided & (areas.ravel() > 0)
    outputs = rows.outputs[block, row], columns.outputs[block, column]
    _fill(result, outputs[0][decided], outputs[1][decided], decision.values[decided][:, None, None])
    waiting = np.flatnonzero(~decision.decided & (areas.ravel() > 0))
    corners = ((block * height + row) * width + column)[:, None] + [0, 1, width, width + 1]
    per_step = rows.outputs.shape[2] * columns.outputs.shape[2]
    for some in _chunks(waiting, queries * per_step):
        ys, xs = outputs[0][some], outputs[1][some]
        weights = np.einsum(
            "nyr,nxc->nyxrc",
            rows.output_weights[block[some], row[some]],
            columns.output_weights[block[some], column[some]],
        )
        pixels = mx.array(weights.reshape(len(some), per_step, 4)) @ mixed[mx.array(corners[some])]
        counts = (ys >= 0)[:, :, None] & (xs >= 0)[:, None]
        values = rule.values(pixels.reshape(len(some) * per_step, -1), counts.ravel())
        _fill(result, ys, xs, values.reshape(counts.shape))


def _fill(result: np.ndarray, ys: np.ndarray, xs: np.ndarray, values: np.ndarray) -> None:
    """Write the values of N groups, (N, height, width) or that to be spread; -1 in `ys` or `xs` is no pixel."""
    present = (ys >= 0)[:, :, None] & (xs >= 0)[:, None]
    places = (
        np.broadcast_to(ys[:, :, None], present.shape)[present],
        np.broadcast_to(xs[:, None], present.shape)[present],
    )
    result[places] = np.broadcast_to(values, present.shape)[present]

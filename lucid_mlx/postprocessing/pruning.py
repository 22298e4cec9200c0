"""Results at the size of a photo, computed only where they are not plain from the mask logits around.

The mask logit of a result's pixel is a mean of few mask logits that lie around it, with weights that add up to one,
since two bilinear resizes in a row made it. So it lies between the least and the largest of them. What follows from
these bounds for a block of pixels, such as the class of all of them, is not computed for each.

What stays open, at the borders of segments, is decided in two more steps: by the logits at the pixels of the network's
input, between which the result's pixels lie, and then pixel by pixel.
"""

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import chain
from typing import Any, NamedTuple, Protocol

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import tile_size
from lucid_mlx.ops import sigmoid
from lucid_mlx.postprocessing.blocks import PARTS, Blocks, Steps, axis_blocks
from lucid_mlx.postprocessing.inputs import ImageSizes

MOST_OPEN = 0.5  # of the blocks; if more are open, plain computing is as fast
SAMPLE = 64  # blocks that tell whether to go on where most are open
MOST_COMPUTED = 0.3  # of the pixels of these blocks
LARGEST_STEP = 64  # pixels between four of the input; if there are more, they are cut and decided again
FEWEST_PIXELS = 4  # of a block on average, for the same reason


class Decision(NamedTuple):
    """What bounds tell of N groups of pixels.

    Attributes:
        values: (N,) int, the value of all pixels of a group, if it is decided.
        decided: (N,) bool.
        possible: (N, bytes) uint8, which values the pixels of a group may have, as packed bits, if the rule is one
            that can be narrowed to them.
    """

    values: np.ndarray
    decided: np.ndarray
    possible: np.ndarray


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
            low: (N, Q), the least mask probability of each query in each group.
            high: (N, Q), the largest.
            areas: (N,) int, how many pixels each group has.

        Returns:
            The decision.
        """

    def among(self, possible: np.ndarray) -> "Rule":
        """Narrow the rule to some values, if that saves work.

        Args:
            possible: (bytes,) uint8, the values as packed bits.

        Returns:
            The rule for pixels that have one of these values.
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
    logits = _queries_last(mask_logits)
    if coarse := rule.coarse():
        decision = _decide_blocks(_queries_last(mask_logits[mx.array(coarse[1])]), rows, columns, coarse[0])
    else:
        decision = _decide_blocks(logits, rows, columns, rule)
    waiting = np.flatnonzero(~decision.decided)
    possible = decision.possible[waiting]
    if coarse and len(waiting):
        finer = _decide_chosen(logits, rows, columns, waiting, rule)
        decision.values[waiting] = finer.values
        waiting, possible = waiting[~finer.decided], finer.possible[~finer.decided]
    mostly_open = len(waiting) > MOST_OPEN * len(decision.decided)
    enlarged = sizes.content_size != sizes.target_size
    if mostly_open and not enlarged:
        return None
    values = decision.values.reshape(shape).astype(dtype)
    result = np.repeat(np.repeat(values, columns.lengths, axis=1), rows.lengths, axis=0)
    places = np.arange(len(waiting))
    sample = places[:: max(1, len(places) // SAMPLE)] if mostly_open else places[:0]
    rest = np.setdiff1d(places, sample, assume_unique=True)
    per_block = logits.shape[2] * rows.pixels.shape[1] * columns.pixels.shape[1]
    for some in chain(_chunks(sample, per_block), _chunks(rest, per_block)):
        chosen = _choose(rows, columns, waiting[some])
        narrowed = rule.among(np.bitwise_or.reduce(possible[some]))
        if not enlarged:
            _fill_pixels(result, logits, *chosen, narrowed)
        elif _fill_between(result, logits, *chosen, narrowed) > MOST_COMPUTED and some[0] in sample:
            return None
    return result


def _queries_last(mask_logits: mx.array) -> mx.array:
    """Return mask logits, (Q, h, w), as (h, w, Q)."""
    queries, height, width = mask_logits.shape
    return mx.contiguous(mask_logits.reshape(queries, -1).T).reshape(height, width, queries)


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
    masks, queries = sigmoid(logits), logits.shape[2]
    for some in _chunks(np.arange(len(rows.lengths)), len(columns.lengths) * queries):
        strips = [masks[mx.array(cells)] for cells in rows.cells[some].T]
        low, high = (
            reduce(extreme, [reduce(extreme, strips)[:, mx.array(cells)] for cells in columns.cells.T])
            for extreme in (mx.minimum, mx.maximum)
        )
        areas = np.outer(rows.lengths[some], columns.lengths).ravel()
        decisions.append(rule.decide(low.reshape(-1, queries), high.reshape(-1, queries), areas))
    return Decision(*map(np.concatenate, zip(*decisions, strict=True)))


def _decide_chosen(logits: mx.array, rows: Blocks, columns: Blocks, numbers: np.ndarray, rule: Rule) -> Decision:
    """Decide blocks by number, some at a time."""
    decisions = []
    per_block = rows.cells.shape[1] * columns.cells.shape[1]
    for some in _chunks(numbers, per_block * logits.shape[2]):
        chosen = _choose(rows, columns, some)
        cells = _cell_logits(logits, *chosen).reshape(len(some), per_block, -1)
        low, high = sigmoid(cells.min(axis=1)), sigmoid(cells.max(axis=1))
        decisions.append(rule.decide(low, high, chosen[0].lengths * chosen[1].lengths))
    return Decision(*map(np.concatenate, zip(*decisions, strict=True)))


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
    n, height, width = len(rows.lengths), rows.pixels.shape[1], columns.pixels.shape[1]
    weights = np.einsum("nrc,nsd->nrscd", rows.pixel_weights, columns.pixel_weights)
    cells = _cell_logits(logits, rows, columns).reshape(n, -1, queries)
    return (mx.array(weights.reshape(n, height * width, -1)) @ cells).reshape(n, height, width, queries)


def _fill_pixels(result: np.ndarray, logits: mx.array, rows: Blocks, columns: Blocks, rule: Rule) -> None:
    """Compute N blocks of a result that has the size of the input."""
    x = _pixel_logits(logits, rows, columns)
    # A block that has fewer pixels than the largest repeats its last one.
    present = [np.arange(axis.pixels.shape[1]) < axis.lengths[:, None] for axis in (rows, columns)]
    counts = present[0][:, :, None] & present[1][:, None]
    values = rule.values(rule.mix(x.reshape(-1, x.shape[3])), counts.ravel())
    result[rows.pixels[:, :, None], columns.pixels[:, None]] = values.reshape(counts.shape)


def _fill_between(result: np.ndarray, logits: mx.array, rows: Blocks, columns: Blocks, rule: Rule) -> float:
    """Decide what lies between the pixels of the input in N blocks, compute the rest, and return how much that is."""
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
    block, row, column = block[waiting], row[waiting], column[waiting]
    steps = (
        Steps(axis.outputs[block, number], axis.output_weights[block, number])
        for axis, number in ((rows, row), (columns, column))
    )
    for some, steps_of_rows, steps_of_columns in _step_chunks(mixed.shape[1], *steps):
        _fill_steps(result, mixed[mx.array(corners[waiting[some]])], steps_of_rows, steps_of_columns, rule)
    return float(areas.ravel()[waiting].sum() / areas.sum())


def _fill_steps(result: np.ndarray, corners: mx.array, rows: Steps, columns: Steps, rule: Rule) -> None:
    """Compute what lies between four pixels of the input each, (N, 4, ...); large steps are cut and decided again."""
    n, _, channels = corners.shape
    if rows.outputs.shape[1] * columns.outputs.shape[1] <= LARGEST_STEP:
        weights = np.einsum("nyr,nxc->nyxrc", rows.weights, columns.weights)
        pixels = mx.array(weights.reshape(n, -1, 4)) @ corners
        counts = (rows.outputs >= 0)[:, :, None] & (columns.outputs >= 0)[:, None]
        values = rule.values(pixels.reshape(-1, channels), counts.ravel())
        _fill(result, rows.outputs, columns.outputs, values.reshape(counts.shape))
        return
    row_parts, column_parts = rows.split(), columns.split()
    weights = np.einsum("npar,nqbc->npqabrc", row_parts.ends, column_parts.ends)
    points = (mx.array(weights.reshape(n, -1, 4)) @ corners).reshape(-1, 2, 2, channels)
    areas = np.einsum("np,nq->npq", row_parts.lengths, column_parts.lengths)
    decision = rule.decide_between(points, areas.ravel())
    step, row, column = np.unravel_index(np.arange(areas.size), areas.shape)
    present = areas.ravel() > 0

    def choose(chosen: np.ndarray) -> tuple[Steps, Steps]:
        return row_parts.choose(step[chosen], row[chosen]), column_parts.choose(step[chosen], column[chosen])

    decided, waiting = decision.decided & present, ~decision.decided & present
    decided_rows, decided_columns = choose(decided)
    _fill(result, decided_rows.outputs, decided_columns.outputs, decision.values[decided][:, None, None])
    for some, some_rows, some_columns in _step_chunks(channels, *choose(waiting)):
        _fill_steps(result, corners[mx.array(step[waiting][some])], some_rows, some_columns, rule)


def _step_chunks(channels: int, rows: Steps, columns: Steps) -> Iterator[tuple[np.ndarray, Steps, Steps]]:
    """Cut steps into chunks, each of which takes a tile's memory; with their numbers."""
    points = max(LARGEST_STEP, 4 * PARTS**2)
    for some in _chunks(np.arange(len(rows.outputs)), channels * points):
        yield some, Steps(*(x[some] for x in rows)), Steps(*(x[some] for x in columns))


def _fill(result: np.ndarray, ys: np.ndarray, xs: np.ndarray, values: np.ndarray) -> None:
    """Write the values of N groups, (N, height, width) or that to be spread; -1 in `ys` or `xs` is no pixel."""
    present = (ys >= 0)[:, :, None] & (xs >= 0)[:, None]
    places = (
        np.broadcast_to(ys[:, :, None], present.shape)[present],
        np.broadcast_to(xs[:, None], present.shape)[present],
    )
    result[places] = np.broadcast_to(values, present.shape)[present]

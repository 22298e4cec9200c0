"""Objects one by one; their masks may overlap."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import Outputs, Size, View, read_logits, read_views
from lucid_mlx.postprocessing.tiles import axis_weights, tiles


@dataclass(frozen=True)
class Instances:
    """The objects of an image, surest first.

    Masks are kept as the network gave them, a few kilobytes each, and made at full size when they are asked for: a
    hundred of them would take 2.4 GB at 6000x4000.

    Attributes:
        label_ids: (N,) int32, their classes.
        scores: (N,) float32, the class's probability times the mean of the mask's inside it; 0 to 1.
        boxes: (N, 4) int32, in pixels: left, top, right, bottom, the last two exclusive; zeros for an empty mask.
        areas: (N,) int32, pixels of the masks.
    """

    label_ids: mx.array
    scores: mx.array
    boxes: mx.array
    areas: mx.array
    _logits: mx.array = field(repr=False)
    _rows: mx.array = field(repr=False)
    _columns: mx.array = field(repr=False)

    def __len__(self) -> int:
        return len(self.label_ids)

    def masks(self, which: Sequence[int] | None = None) -> mx.array:
        """Return the masks of some objects, or of all, (n, height, width) bool."""
        logits = self._logits if which is None else self._logits[mx.array(list(which), mx.int32)]
        return self._rows @ (logits @ self._columns) > 0


def instance_segmentation(
    outputs: Outputs,
    input_size: Size,
    target_sizes: Sequence[Size] | None = None,
    *,
    thing_ids: Collection[int] | None = None,
    content_sizes: Sequence[Size] | None = None,
    top_k: int = 100,
) -> list[Instances]:
    """Find the objects of each image, as the original project does.

    Every query may be an object of every class: the pairs of highest probability are taken, and each probability is
    multiplied with the mean of the mask's inside the mask.

    Args:
        outputs: the network's, with `class_queries_logits` and `masks_queries_logits`.
        input_size: height and width of what the network saw.
        target_sizes: height and width of the masks; those of `content_sizes` if None.
        thing_ids: of the pairs taken keep those with these labels, as for networks that know stuff too; all if None.
        content_sizes: height and width of the top left part of the input that shows each image, where the rest is
            padding; all of the input if None.
        top_k: how many pairs of query and class to take.

    Returns:
        The objects of each image, at most `top_k`.

    Raises:
        InputError: for logits that are missing or not finite, sizes that do not fit, or a `top_k` below 1.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise InputError(f"top_k must be a whole number of at least 1, got {top_k!r}")
    classes, masks = read_logits(outputs)
    views = read_views(len(classes), input_size, content_sizes, target_sizes)
    return [_instances(*image, thing_ids, top_k) for image in zip(classes, masks, views, strict=True)]


def top_pairs(classes: mx.array, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return query, label and probability of the likeliest pairs, likeliest first."""
    probabilities = np.array(softmax(classes)[:, :-1])
    best = np.argsort(-probabilities.ravel(), kind="stable")[:count]
    queries, labels = np.unravel_index(best, probabilities.shape)
    return queries, labels, probabilities.ravel()[best]


def mask_statistics(masks: mx.array, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure masks at full size.

    Args:
        masks: (N, h, w), mask logits.
        view: the sizes.

    Returns:
        Areas in pixels, (N,) int64; the mean of the probabilities inside each mask, (N,) float32, 0 if it is empty;
        and boxes, (N, 4) int32.
    """
    height, width = view.size
    count = len(masks)
    areas, sums = np.zeros(count, np.int64), np.zeros(count)
    rows, columns = np.zeros((height, count), bool), np.zeros((width, count), bool)
    for tile in tiles(masks, view, count):
        inside = tile.logits > 0
        in_rows = np.array(inside.sum(axis=1))
        # Float32 sums of a row, and float64 of rows: over a tile float32 would lose the sixth digit.
        sums += np.array((sigmoid(tile.logits) * inside).sum(axis=1)).sum(axis=0, dtype=np.float64)
        areas += in_rows.sum(axis=0)
        rows[tile.part[0]] |= in_rows > 0
        columns[tile.part[1]] |= np.array(inside.any(axis=0))
    boxes = np.stack([*_extent(columns, width), *_extent(rows, height)])[[0, 2, 1, 3]].T
    return areas, (sums / (areas + 1e-6)).astype(np.float32), boxes * (areas > 0)[:, None]


def _extent(used: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    return used.argmax(axis=0), length - used[::-1].argmax(axis=0)


def _instances(
    classes: mx.array, masks: mx.array, view: View, thing_ids: Collection[int] | None, top_k: int
) -> Instances:
    queries, labels, scores = top_pairs(classes, top_k)
    if thing_ids is not None:
        things = np.isin(labels, list(thing_ids))
        queries, labels, scores = queries[things], labels[things], scores[things]
    distinct, pair = np.unique(queries, return_inverse=True)
    areas, means, boxes = np.zeros(0), np.zeros(0, np.float32), np.zeros((0, 4))
    if len(distinct):
        areas, means, boxes = (x[pair] for x in mask_statistics(masks[mx.array(distinct)], view))
    scores = scores * means
    order = np.argsort(-scores, kind="stable")
    rows, columns = (mx.array(axis_weights(masks.shape[1 + axis], view, axis)) for axis in (0, 1))
    return Instances(
        mx.array(labels[order].astype(np.int32)),
        mx.array(scores[order]),
        mx.array(boxes[order].astype(np.int32)),
        mx.array(areas[order].astype(np.int32)),
        masks[mx.array(queries[order])],
        rows,
        columns.T,
    )

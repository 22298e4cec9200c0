"""Semantic segmentation: a class for each pixel."""

import operator
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import evaluated_in_order, numpy_is_fast
from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import ImageSizes, Outputs, Size, extract_logits, image_sizes
from lucid_mlx.postprocessing.pruning import Decision, between, pruned_map
from lucid_mlx.postprocessing.tiles import Region, resize_tile, resized_tiles
from lucid_mlx.utils.validation import check_value

UNSEEN = 0.05  # of a class's score: so much may come from queries that a first look leaves out


def semantic_segmentation(
    outputs: Outputs,
    input_size: Size,
    target_sizes: Sequence[Size] | None = None,
    *,
    content_sizes: Sequence[Size] | None = None,
    resize_scores: bool = False,
) -> list[mx.array]:
    """Give each pixel the class with the highest score, as the original project does.

    The score of a class is the sum over queries of p(class) x p(mask) (MaskFormer, section 3.4).

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        input_size: (height, width) of the network's input.
        target_sizes: (height, width) of each result; `content_sizes` if None.
        content_sizes: for each image the (height, width) of the top left part of the input that shows it, where the
            rest is padding; the whole input if None.
        resize_scores: compute scores at the size of the input and resize the scores. The original project does so with
            networks that are trained for semantic segmentation only (SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE is off).
            If False, the mask logits are resized and scores are computed afterwards, as it does with other networks.

    Returns:
        (height, width) int32 for each image, the class of each pixel.

    Raises:
        InputError: if logits are missing or not finite, or a size does not fit.
    """
    check_value("resize_scores", resize_scores, bool)
    class_logits, mask_logits = extract_logits(outputs)
    sizes = image_sizes(len(class_logits), input_size, content_sizes, target_sizes)
    return [semantic_map(*image, resize_scores) for image in zip(class_logits, mask_logits, sizes, strict=True)]


def semantic_map(class_logits: mx.array, mask_logits: mx.array, sizes: ImageSizes, resize_scores: bool) -> mx.array:
    """Give each pixel of one image the class with the highest score.

    Args:
        class_logits: (Q, num_labels + 1).
        mask_logits: (Q, h, w).
        sizes: the sizes of the image.
        resize_scores: compute scores at the size of the input and resize the scores.

    Returns:
        (height, width) int32, the class of each pixel.
    """
    class_probabilities = mx.contiguous(softmax(class_logits)[:, :-1])
    resize_scores = resize_scores and sizes.content_size != sizes.target_size
    rule = _BestClass(np.array(class_probabilities), resize_scores)
    class_map = pruned_map(mask_logits, sizes, rule, np.dtype(np.int32))
    if class_map is None:
        class_map = _plain_map(class_probabilities, mask_logits, sizes, resize_scores)
    return mx.array(class_map)


def class_scores(class_logits: mx.array, mask_logits: mx.array, sizes: ImageSizes, resize_scores: bool) -> mx.array:
    """Compute the score of each class at each pixel of one image; arguments as of `semantic_map`.

    Args:
        class_logits: (Q, num_labels + 1).
        mask_logits: (Q, h, w).
        sizes: the sizes of the image.
        resize_scores: compute scores at the size of the input and resize the scores.

    Returns:
        (num_labels, height, width) float32.
    """
    class_probabilities = mx.contiguous(softmax(class_logits)[:, :-1])
    scores = np.empty((class_probabilities.shape[1], *sizes.target_size), np.float32)
    tiles = _class_scores(class_probabilities, mask_logits, sizes, resize_scores)
    for (rows, columns), values in evaluated_in_order((region, x.transpose(2, 0, 1)) for region, x in tiles):
        scores[:, rows, columns] = values
    return mx.array(scores)


class View(NamedTuple):
    """What a network said of one view of an image.

    Attributes:
        class_logits: (Q, num_labels + 1).
        mask_logits: (Q, h, w).
        sizes: the sizes of the view; the target size is that of the image, for all views.
        mirrored: whether the view shows the image mirrored, left for right.
    """

    class_logits: mx.array
    mask_logits: mx.array
    sizes: ImageSizes
    mirrored: bool


def averaged_map(views: Sequence[View], resize_scores: bool) -> np.ndarray:
    """Give each pixel the class with the highest mean score over views of the image.

    Args:
        views: at least one.
        resize_scores: compute scores at the size of the input and resize the scores.

    Returns:
        (height, width) int32, the class of each pixel.
    """
    target = views[0].sizes.target_size
    tiles = zip(*(_view_scores(view, resize_scores) for view in views), strict=True)
    # All views have the same tiles, as these depend on the target's size.
    sums = ((parts[0][0], reduce(operator.add, (scores for _, scores in parts))) for parts in tiles)
    return _highest(sums, target)


def _view_scores(view: View, resize_scores: bool) -> Iterator[tuple[Region, mx.array]]:
    class_logits, mask_logits, sizes, mirrored = view
    class_probabilities = mx.contiguous(softmax(class_logits)[:, :-1])
    resize_scores = resize_scores and sizes.content_size != sizes.target_size
    return _class_scores(class_probabilities, mask_logits, sizes, resize_scores, mirrored)


def _plain_map(
    class_probabilities: mx.array, mask_logits: mx.array, sizes: ImageSizes, resize_scores: bool
) -> np.ndarray:
    """Compute the scores of every pixel; arguments and result as of `semantic_map`."""
    return _highest(_class_scores(class_probabilities, mask_logits, sizes, resize_scores), sizes.target_size)


def _highest(scores_of_tiles: Iterator[tuple[Region, mx.array]], target_size: Size) -> np.ndarray:
    """Return the class with the highest score of each pixel, (height, width) int32."""
    class_map = np.empty(target_size, np.int32)
    use_numpy = numpy_is_fast()
    tiles = ((region, scores if use_numpy else mx.argmax(scores, axis=-1)) for region, scores in scores_of_tiles)
    for region, values in evaluated_in_order(tiles):
        class_map[region] = values.argmax(axis=-1) if use_numpy else values
    return class_map


def _class_scores(
    class_probabilities: mx.array,
    mask_logits: mx.array,
    sizes: ImageSizes,
    resize_scores: bool,
    mirrored: bool = False,
) -> Iterator[tuple[Region, mx.array]]:
    """Yield the scores of each tile, (height, width, num_labels)."""
    queries, num_labels = class_probabilities.shape
    for tile in resized_tiles(mask_logits, sizes, max(queries, num_labels), resize_scores, mirrored):
        masks = sigmoid(tile.logits)
        scores = (masks.reshape(-1, queries) @ class_probabilities).reshape(*masks.shape[:2], num_labels)
        if tile.resize_weights is not None:
            scores = resize_tile(scores, tile.resize_weights)
        yield tile.region, scores


class _BestClass:
    """The rule that a pixel gets the class with the highest score.

    Args:
        class_probabilities: (Q, num_labels) float32.
        resize_scores: resize the scores, not the logits.
        classes: the classes to look at; all if None.
        queries: the queries to look at; all if None.
        others: the highest score that another class can have where it could win.
    """

    def __init__(
        self,
        class_probabilities: np.ndarray,
        resize_scores: bool,
        classes: np.ndarray | None = None,
        queries: np.ndarray | None = None,
        others: float = 0.0,
    ):
        self._all, self._resize_scores = class_probabilities, resize_scores
        self._classes = np.arange(class_probabilities.shape[1]) if classes is None else classes
        used = class_probabilities if queries is None else class_probabilities[queries]
        self._by_class = np.ascontiguousarray(used.T[self._classes])
        self._weights = mx.array(self._by_class.T)
        # What a class gets at most from the queries that are left out, and what any class gets that is left out and
        # could win.
        self._unseen = (class_probabilities.sum(axis=0) - used.sum(axis=0))[self._classes]
        self._others = others

    def coarse(self) -> tuple["_BestClass", np.ndarray] | None:
        """Return the rule that sees only queries that are sure of something, and only classes that get much."""
        queries = np.argsort(self._all.max(axis=1))
        unsure = np.searchsorted(self._all[queries].cumsum(axis=0).max(axis=1), UNSEEN)
        classes = np.flatnonzero(self._all.sum(axis=0) > 2 * UNSEEN)
        queries = np.sort(queries[unsure:])
        if len(classes) == 0 or 2 * len(queries) * len(classes) > self._all.size:
            return None
        others = float(np.delete(self._all.sum(axis=0), classes).max(initial=0.0))
        return _BestClass(self._all, self._resize_scores, classes, queries, others), queries

    def among(self, possible: np.ndarray) -> "_BestClass":
        """Return the rule for some of the classes."""
        classes = np.flatnonzero(np.unpackbits(possible, count=self._all.shape[1]))
        return _BestClass(self._all, self._resize_scores, classes)

    def decide(self, low: mx.array, high: mx.array, areas: np.ndarray) -> Decision:
        """See `Rule`.

        A class that wins everywhere in a group has the largest of all bounds there.
        """
        bounds = high @ self._weights
        mx.eval(bounds, low)
        highest = np.array(bounds) + self._unseen
        numbers = np.arange(len(highest))
        winner = highest.argmax(axis=1)
        least = np.einsum("nq,nq->n", np.array(low, copy=False), self._by_class[winner])
        possible = np.empty((len(highest), 0), np.uint8)
        if len(self._classes) == self._all.shape[1]:
            possible = np.packbits(highest >= least[:, None], axis=1)
        highest[numbers, winner] = self._others
        return Decision(self._classes[winner], least > highest.max(axis=1), possible)

    def mix(self, logits: mx.array) -> mx.array:
        """See `Rule`."""
        return sigmoid(logits) @ self._weights if self._resize_scores else logits

    def decide_between(self, mixed: mx.array, areas: np.ndarray) -> Decision:
        """See `Rule`."""
        if not self._resize_scores:
            masks = sigmoid(mixed)
            return self.decide(between(mx.minimum, masks), between(mx.maximum, masks), areas)
        winner = np.array(mixed, copy=False).argmax(axis=-1)  # scores are linear there: who wins at all corners, wins
        corners = np.stack([winner[:, :-1, :-1], winner[:, :-1, 1:], winner[:, 1:, :-1], winner[:, 1:, 1:]])
        first = corners[0].ravel()
        return Decision(
            self._classes[first], (corners == corners[0]).all(axis=0).ravel(), np.empty((len(first), 0), np.uint8)
        )

    def values(self, mixed: mx.array, counts: np.ndarray) -> np.ndarray:
        """See `Rule`."""
        scores = mixed if self._resize_scores else sigmoid(mixed) @ self._weights
        return self._classes[np.array(scores, copy=False).argmax(axis=1)]

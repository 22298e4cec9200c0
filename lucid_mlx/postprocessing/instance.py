"""Instance segmentation: a mask for each object; masks may overlap."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import POSTPROCESSING
from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import RANGES, ImageSizes, Outputs, Size, extract_logits, image_sizes
from lucid_mlx.postprocessing.tiles import axis_weights, compact, resized_tiles
from lucid_mlx.utils.validation import check_value, whole_numbers


@dataclass(frozen=True)
class Instances:
    """The objects of an image, highest score first.

    The mask logits are stored at the network's resolution, a few kilobytes each, and resized when a mask is requested:
    a hundred masks at full size would take 2.4 GB at 6000x4000.

    Attributes:
        label_ids: (N,) int32, ids of the classes.
        scores: (N,) float32, 0 to 1: the probability of the class times the mean probability of the mask's pixels.
        boxes: (N, 4) int32, (left, top, right, bottom) in pixels, right and bottom exclusive; zeros for an empty mask.
        areas: (N,) int32, number of pixels of each mask.
        queries: (N,) int32, the network's query that each comes from.
    """

    label_ids: mx.array
    scores: mx.array
    boxes: mx.array
    areas: mx.array
    queries: mx.array
    _mask_logits: mx.array = field(repr=False)
    _row_weights: mx.array = field(repr=False)
    _column_weights: mx.array = field(repr=False)  # transposed

    def __len__(self) -> int:
        return len(self.label_ids)

    def masks(self, indices: Sequence[int] | None = None) -> mx.array:
        """Return the masks of the objects with these indices, or of all objects, (n, height, width) bool."""
        logits = self._mask_logits
        if indices is not None:  # MLX does not check them
            logits = logits[mx.array(whole_numbers("indices", indices, most=len(self) - 1), mx.int32)]
        return self._row_weights @ (logits @ self._column_weights) > 0

    def candidates(self) -> "InstanceCandidates":
        """Return the objects without MLX's arrays, for `Segmentation.with_threshold`."""
        queries = np.array(self.queries)
        _, first, places = np.unique(queries, return_index=True, return_inverse=True)
        return InstanceCandidates(
            np.array(self.label_ids),
            np.array(self.scores),
            queries,
            compact(self._mask_logits[mx.array(first)]),
            places,
            np.array(self._row_weights),
            np.array(self._column_weights),
        )


@dataclass(frozen=True, eq=False)
class InstanceCandidates:
    """The objects of an image, highest score first. The mask logits of a query are there once.

    Attributes:
        label_ids: (N,) int32, ids of the classes.
        scores: (N,) float32, 0 to 1.
        queries: (N,) int32, the network's query that each comes from.
        mask_logits: (Q, h, w), in float16 if that holds them as they are, else in float32.
    """

    label_ids: np.ndarray
    scores: np.ndarray
    queries: np.ndarray
    mask_logits: np.ndarray
    _places: np.ndarray  # of each object in the mask logits
    _row_weights: np.ndarray
    _column_weights: np.ndarray  # transposed

    def masks(self, indices: Sequence[int]) -> np.ndarray:
        """Return masks as `Instances.masks` does, (n, height, width) bool. Any thread may call it."""
        return POSTPROCESSING.run(self._masks, indices)

    def _masks(self, indices: Sequence[int]) -> np.ndarray:
        logits = mx.array(self.mask_logits[self._places[list(indices)]].astype(np.float32))
        return np.array(mx.array(self._row_weights) @ (logits @ mx.array(self._column_weights)) > 0)


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

    A query may be an object of several classes: the (query, class) pairs with the highest probabilities are taken. A
    score is this probability times the mean probability of the pixels inside the mask.

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        input_size: (height, width) of the network's input.
        target_sizes: (height, width) of each image's masks; `content_sizes` if None.
        thing_ids: keep only pairs with these classes, for networks that are also trained for stuff; all if None.
        content_sizes: for each image the (height, width) of the top left part of the input that shows it, where the
            rest is padding; the whole input if None.
        top_k: number of (query, class) pairs to take.

    Returns:
        For each image at most `top_k` objects.

    Raises:
        InputError: if logits are missing or not finite, a size does not fit, or `top_k` is below 1.
    """
    check_value("top_k", top_k, int, *RANGES["top_k"])
    if thing_ids is not None:
        thing_ids = whole_numbers("thing_ids", thing_ids)
    class_logits, mask_logits = extract_logits(outputs)
    sizes = image_sizes(len(class_logits), input_size, content_sizes, target_sizes)
    return [_instances(*image, thing_ids, top_k) for image in zip(class_logits, mask_logits, sizes, strict=True)]


def top_pairs(class_logits: mx.array, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the (query, class) pairs with the highest probabilities, highest first.

    Args:
        class_logits: (Q, num_labels + 1).
        count: maximum number of pairs.

    Returns:
        Query indices, label ids and probabilities, each (N,).
    """
    probabilities = np.array(softmax(class_logits)[:, :-1])
    best = np.argsort(-probabilities.ravel(), kind="stable")[:count]
    queries, label_ids = np.unravel_index(best, probabilities.shape)
    return queries, label_ids, probabilities.ravel()[best]


def mask_statistics(mask_logits: mx.array, sizes: ImageSizes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure masks at full size.

    Args:
        mask_logits: (N, h, w).
        sizes: the sizes of the image.

    Returns:
        Areas in pixels, (N,) int64; the mean probability of the pixels inside each mask, (N,) float32, 0 if it is
        empty; and boxes, (N, 4) int64, as in `Instances`.
    """
    height, width = sizes.target_size
    count = len(mask_logits)
    areas, sums = np.zeros(count, np.int64), np.zeros(count)
    used_rows, used_columns = np.zeros((height, count), bool), np.zeros((width, count), bool)
    for tile in resized_tiles(mask_logits, sizes, count):
        inside = tile.logits > 0
        row_areas = np.array(inside.sum(axis=1))
        # Sums along a row are float32, sums of rows float64: float32 over a whole tile would lose the sixth digit.
        sums += np.array((sigmoid(tile.logits) * inside).sum(axis=1)).sum(axis=0, dtype=np.float64)
        areas += row_areas.sum(axis=0)
        used_rows[tile.region[0]] |= row_areas > 0
        used_columns[tile.region[1]] |= np.array(inside.any(axis=0))
    left, right = _bounds(used_columns)
    top, bottom = _bounds(used_rows)
    boxes = np.stack([left, top, right, bottom], axis=1) * (areas > 0)[:, None]
    return areas, (sums / (areas + 1e-6)).astype(np.float32), boxes


def _bounds(used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each column of (length, N) the index of the first True, and one more than that of the last."""
    return used.argmax(axis=0), len(used) - used[::-1].argmax(axis=0)


def _instances(
    class_logits: mx.array, mask_logits: mx.array, sizes: ImageSizes, thing_ids: Collection[int] | None, top_k: int
) -> Instances:
    queries, label_ids, scores = top_pairs(class_logits, top_k)
    if thing_ids is not None:
        things = np.isin(label_ids, list(thing_ids))
        queries, label_ids, scores = queries[things], label_ids[things], scores[things]
    distinct, inverse = np.unique(queries, return_inverse=True)  # a query's mask is measured once
    areas, means, boxes = np.zeros(0), np.zeros(0, np.float32), np.zeros((0, 4))
    if len(distinct):
        areas, means, boxes = (x[inverse] for x in mask_statistics(mask_logits[mx.array(distinct)], sizes))
    scores = scores * means
    order = np.argsort(-scores, kind="stable")
    rows, columns = (mx.array(axis_weights(mask_logits.shape[1 + axis], sizes, axis)) for axis in (0, 1))
    return Instances(
        mx.array(label_ids[order].astype(np.int32)),
        mx.array(scores[order]),
        mx.array(boxes[order].astype(np.int32)),
        mx.array(areas[order].astype(np.int32)),
        mx.array(queries[order].astype(np.int32)),
        mask_logits[mx.array(queries[order])],
        rows,
        columns.T,
    )

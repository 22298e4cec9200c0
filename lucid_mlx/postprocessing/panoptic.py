"""Segments that do not overlap: things one by one, stuff by class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import Outputs, Size, View, read_logits, read_views
from lucid_mlx.postprocessing.tiles import tiles


@dataclass(frozen=True)
class PanopticSegment:
    """A segment of a panoptic map.

    Attributes:
        id: its number in the map, from 1.
        label_id: its class.
        score: the probability of the class, 0 to 1; of several queries that were merged, the highest.
        area: its pixels.
    """

    id: int
    label_id: int
    score: float
    area: int


@dataclass(frozen=True)
class Panoptic:
    """A panoptic result.

    Attributes:
        segmentation: (height, width) int32, the segment of each pixel; 0 where there is none.
        segments: in the order of their numbers.
    """

    segmentation: mx.array
    segments: list[PanopticSegment]


def panoptic_segmentation(
    outputs: Outputs,
    input_size: Size,
    target_sizes: Sequence[Size] | None = None,
    *,
    thing_ids: Collection[int],
    content_sizes: Sequence[Size] | None = None,
    threshold: float = 0.8,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
) -> list[Panoptic]:
    """Part each image into segments, as the original project does.

    Queries whose class is an object's and sure enough compete: a pixel goes to the highest p(class) x p(mask), and
    stays empty if p(mask) is below one half there. A query that has lost too much of its mask is dropped.

    Args:
        outputs: the network's, with `class_queries_logits` and `masks_queries_logits`.
        input_size: height and width of what the network saw.
        target_sizes: height and width of each result; those of `content_sizes` if None.
        thing_ids: the labels whose objects stay apart; segments of any other label are merged.
        content_sizes: height and width of the top left part of the input that shows each image, where the rest is
            padding; all of the input if None.
        threshold: queries compete if the probability of their class is above this.
        mask_threshold: a mask is where its probability is at least this.
        overlap_mask_area_threshold: a query is dropped if the pixels it won are a smaller part of its mask.

    Returns:
        A map and its segments for each image.

    Raises:
        InputError: for logits that are missing or not finite, or sizes that do not fit.
    """
    classes, masks = read_logits(outputs)
    views = read_views(len(classes), input_size, content_sizes, target_sizes)
    return [
        _panoptic(*image, thing_ids, threshold, mask_threshold, overlap_mask_area_threshold)
        for image in zip(classes, masks, views, strict=True)
    ]


def kept_queries(classes: mx.array, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return index, score and label of the queries that show an object and have a score above the threshold."""
    probabilities = np.array(softmax(classes))
    labels, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    kept = np.flatnonzero((labels < probabilities.shape[1] - 1) & (scores > np.float32(threshold)))
    return kept, scores[kept], labels[kept]


def _panoptic(
    classes: mx.array,
    masks: mx.array,
    view: View,
    thing_ids: Collection[int],
    threshold: float,
    mask_threshold: float,
    overlap_threshold: float,
) -> Panoptic:
    kept, scores, labels = kept_queries(classes, threshold)
    if not len(kept):
        return Panoptic(mx.zeros(view.size, mx.int32), [])
    # For each pixel twice the number of the query that won it, and one more where that query's mask is.
    codes = np.empty(view.size, np.min_scalar_type(2 * len(kept)))
    pixels, mask_areas = np.zeros(2 * len(kept), np.int64), np.zeros(len(kept), np.int64)
    weights = mx.array(scores)
    for tile in tiles(masks[mx.array(kept)], view, len(kept)):
        probabilities = sigmoid(tile.logits)
        inside = probabilities >= mask_threshold
        winner = mx.argmax(probabilities * weights, axis=-1, keepdims=True)
        code = np.array(2 * winner + mx.take_along_axis(inside, winner, axis=-1))[..., 0]
        pixels += np.bincount(code.ravel(), minlength=len(pixels))
        mask_areas += np.array(inside.sum(axis=0).sum(axis=0))
        codes[tile.part] = code
    won_areas, areas = pixels.reshape(-1, 2).sum(axis=1), pixels[1::2]

    segments: dict[int, PanopticSegment] = {}
    merged: dict[int, int] = {}
    number_of = np.zeros(2 * len(kept), np.int32)
    for query, (score, label) in enumerate(zip(scores.tolist(), labels.tolist(), strict=True)):
        area = int(areas[query])
        if area == 0 or won_areas[query] / mask_areas[query] < overlap_threshold:
            continue
        number = merged.get(label, len(segments) + 1)
        if label not in thing_ids:
            merged[label] = number
        if number in segments:
            score, area = max(score, segments[number].score), area + segments[number].area
        segments[number] = PanopticSegment(number, label, score, area)
        number_of[2 * query + 1] = number
    return Panoptic(mx.array(number_of)[mx.array(codes)], list(segments.values()))

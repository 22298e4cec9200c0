"""The same results as transformers' `Mask2FormerImageProcessor` (5.23), faults and all.

It reads masks at 384x384 whatever the network saw, so that only for square inputs without padding nothing is lost.
What else differs from the original project is said where it happens.
"""

from collections.abc import Collection, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.ops import sigmoid
from lucid_mlx.postprocessing.inputs import Outputs, Size, View, read_logits, read_sizes
from lucid_mlx.postprocessing.instance import mask_statistics, top_pairs
from lucid_mlx.postprocessing.panoptic import kept_queries
from lucid_mlx.postprocessing.semantic import semantic_map
from lucid_mlx.postprocessing.tiles import axis_weights, resize, tiles

_INPUT_SIZE = (384, 384)
_NOTHING = -1  # pixels without a segment: in instance maps, and in panoptic maps of no segment at all

Result = dict[str, Any]


def post_process_semantic_segmentation(outputs: Outputs, target_sizes: Sequence[Size] | None = None) -> list[mx.array]:
    """Give each pixel the class of highest score.

    Args:
        outputs: the network's, with `class_queries_logits` and `masks_queries_logits`.
        target_sizes: height and width of each result; 384x384 if None.

    Returns:
        (height, width) int32 for each image.

    Raises:
        InputError: for logits that are missing or not finite, or sizes that do not fit.
    """
    classes, masks = read_logits(outputs)
    views = _views(len(classes), target_sizes)
    return [semantic_map(*image, resize_scores=True) for image in zip(classes, masks, views, strict=True)]


def post_process_panoptic_segmentation(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    label_ids_to_fuse: Collection[int] | None = None,
    target_sizes: Sequence[Size] | None = None,
) -> list[Result]:
    """Part each image into segments that do not overlap.

    Args:
        outputs: the network's, with `class_queries_logits` and `masks_queries_logits`.
        threshold: queries compete if the probability of their class is above this.
        mask_threshold: a mask is where its probability, times that of the class, is at least this.
        overlap_mask_area_threshold: a query stays if the pixels it won are a larger part of its mask.
        label_ids_to_fuse: labels whose segments get one number; none if None.
        target_sizes: height and width of each result; 384x384 if None.

    Returns:
        For each image `segmentation`, (height, width) int32 with 0 where there is nothing, or float32 and -1
        everywhere if no query competed; and `segments_info`, an `id`, `label_id`, `was_fused` and `score` for each
        query that stayed. After a fused segment numbers go on from its own, so that one may be given twice.

    Raises:
        InputError: for logits that are missing or not finite, or sizes that do not fit.
    """
    classes, masks = read_logits(outputs)
    views = _views(len(classes), target_sizes)
    return [
        _panoptic(*image, label_ids_to_fuse or (), threshold, mask_threshold, overlap_mask_area_threshold)
        for image in zip(classes, masks, views, strict=True)
    ]


def post_process_instance_segmentation(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    target_sizes: Sequence[Size] | None = None,
    return_coco_annotation: bool = False,
    return_binary_maps: bool = False,
) -> list[Result]:
    """Find the objects of each image.

    Objects come in the order of their class's probability, highest first. So does torch sort them from 64 classes on;
    with fewer it leaves them in an order that depends on its C++ library. Where objects overlap the map shows the
    last.

    Args:
        outputs: the network's, with `class_queries_logits` and `masks_queries_logits`.
        threshold: objects are kept if their score is at least this.
        mask_threshold: without effect, as in transformers: masks are where the probability is above one half.
        overlap_mask_area_threshold: without effect, as in transformers.
        target_sizes: height and width of each result; 384x384 if None.
        return_coco_annotation: return run lengths instead of the map.
        return_binary_maps: return a mask for each object instead of the map.

    Returns:
        For each image `segments_info`, with `id` from 0, `label_id`, `was_fused` and `score`; and `segmentation`: by
        default (height, width) float32, -1 where there is nothing; or a list with the runs (start from 1, length) of
        -1, if that occurs, and of each object; or (N, height, width) float32, 0 and 1, if there is any object.

    Raises:
        InputError: for logits that are missing or not finite, sizes that do not fit, or both forms asked for.
    """
    if return_coco_annotation and return_binary_maps:
        raise InputError("return_coco_annotation and return_binary_maps exclude each other; set one of them")
    classes, masks = read_logits(outputs)
    results = []
    for image, view in zip(zip(classes, masks, strict=True), _views(len(classes), target_sizes), strict=True):
        nearest = np.ix_(*(_nearest(side) for side in view.size))
        segments, shown = _instances(*image, nearest, threshold)
        segmentation = np.full(_INPUT_SIZE, _NOTHING, np.float32)
        for number, mask in enumerate(shown):
            segmentation[mask] = number
        result: Any
        if return_coco_annotation:
            result = _run_lengths(segmentation[nearest])
        elif return_binary_maps and segments:
            result = mx.stack([mx.array(mask[nearest]).astype(mx.float32) for mask in shown])
        else:
            result = mx.array(segmentation[nearest])
        results.append({"segmentation": result, "segments_info": segments})
    return results


def _views(batch: int, target_sizes: Sequence[Size] | None) -> list[View]:
    targets = [_INPUT_SIZE] * batch if target_sizes is None else read_sizes("target_sizes", target_sizes, batch)
    return [View(_INPUT_SIZE, _INPUT_SIZE, target) for target in targets]


def _panoptic(
    classes: mx.array,
    masks: mx.array,
    view: View,
    label_ids_to_fuse: Collection[int],
    threshold: float,
    mask_threshold: float,
    overlap_threshold: float,
) -> Result:
    kept, scores, labels = kept_queries(classes, threshold)
    if not len(kept):
        return {"segmentation": mx.full(view.size, _NOTHING, mx.float32), "segments_info": []}
    winners = np.empty(view.size, np.min_scalar_type(len(kept)))
    areas = np.zeros((2, len(kept)), np.int64)
    weights = mx.array(scores)
    for tile in tiles(masks[mx.array(kept)], view, len(kept), stop_at_input=True):
        # Probabilities are resized, not logits, and are thresholded after they were weighted.
        probabilities = sigmoid(tile.logits)
        assert tile.to_result is not None  # the tile stops at the input
        weighted = resize(probabilities, tile.to_result) * weights
        winner = np.array(mx.argmax(weighted, axis=-1))
        areas[0] += np.bincount(winner.ravel(), minlength=len(kept))
        areas[1] += np.array((weighted >= mask_threshold).sum(axis=0).sum(axis=0))
        winners[tile.part] = winner

    segments: list[Result] = []
    fused: dict[int, int] = {}
    number_of = np.zeros(len(kept), np.int32)
    number = 0
    for query, (score, label) in enumerate(zip(scores.tolist(), labels.tolist(), strict=True)):
        won, own = areas[:, query].astype(np.float32)
        if not (won > 0 and own > 0 and float(won / own) > overlap_threshold):
            continue
        number = fused.get(label, number + 1)
        fuse = label in label_ids_to_fuse
        if fuse:
            fused[label] = number
        number_of[query] = number
        segments.append({"id": number, "label_id": label, "was_fused": fuse, "score": round(score, 6)})
    return {"segmentation": mx.array(number_of)[mx.array(winners)], "segments_info": segments}


def _instances(
    classes: mx.array, masks: mx.array, nearest: tuple[np.ndarray, ...], threshold: float
) -> tuple[list[Result], list[np.ndarray]]:
    """Return the objects that show at the result's pixels, and their masks, (384, 384) bool."""
    queries, labels, scores = top_pairs(classes, len(masks))
    distinct, pair = np.unique(queries, return_inverse=True)
    view = View(_INPUT_SIZE, _INPUT_SIZE, _INPUT_SIZE)
    _, means, _ = mask_statistics(masks[mx.array(distinct)], view)
    scores = scores * means[pair]
    rows, columns = (mx.array(axis_weights(masks.shape[1 + axis], view, axis)) for axis in (0, 1))
    segments: list[Result] = []
    shown = []
    for query, label, score in zip(queries.tolist(), labels.tolist(), scores.tolist(), strict=True):
        if score < threshold:
            continue
        mask = np.array(rows @ (masks[query] @ columns.T) > 0)
        if mask[nearest].any():
            segments.append({"id": len(segments), "label_id": label, "was_fused": False, "score": round(score, 6)})
            shown.append(mask)
    return segments, shown


def _nearest(outputs: int) -> np.ndarray:
    """Return the input of each output under torch's "nearest", which multiplies in float32."""
    scale = np.float32(_INPUT_SIZE[0]) / np.float32(outputs)
    return np.minimum((np.arange(outputs, dtype=np.float32) * scale).astype(np.int64), _INPUT_SIZE[0] - 1)


def _run_lengths(segmentation: np.ndarray) -> list[list[int]]:
    flat = segmentation.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=np.nan))
    lengths = np.diff(starts, append=flat.size)
    runs = np.stack([starts + 1, lengths], axis=1)
    values = flat[starts]
    return [runs[values == value].ravel().tolist() for value in np.unique(values)]

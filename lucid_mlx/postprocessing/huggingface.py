"""The same results as transformers' `Mask2FormerImageProcessor` (5.23), with its mistakes.

It resizes all masks to 384x384, whatever the size of the network's input; only square inputs without padding lose
nothing. Other differences from the original project are noted where they occur.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.ops import sigmoid
from lucid_mlx.postprocessing.inputs import ImageSizes, Outputs, Size, check_sizes, check_thresholds, extract_logits
from lucid_mlx.postprocessing.instance import mask_statistics, top_pairs
from lucid_mlx.postprocessing.panoptic import kept_queries
from lucid_mlx.postprocessing.semantic import class_scores, semantic_map
from lucid_mlx.postprocessing.tiles import axis_weights, resize_tile, resized_tiles
from lucid_mlx.utils.validation import check_value, whole_numbers

_MASK_SIZE = (384, 384)
_NO_SEGMENT = -1  # in instance maps, and in panoptic maps without any segment

Result = dict[str, Any]


@dataclass(frozen=True)
class SemanticSegmentationScores:
    """A semantic map and what it was made of.

    Attributes:
        segmentation: (height, width) int32, the class of each pixel.
        segmentation_scores: (num_labels, height, width) float32, the score of each class.
    """

    segmentation: mx.array
    segmentation_scores: mx.array

    def __getitem__(self, name: str) -> mx.array:
        return {"segmentation": self.segmentation, "segmentation_scores": self.segmentation_scores}[name]


@overload
def post_process_semantic_segmentation(
    outputs: Outputs, target_sizes: Sequence[Size] | None = None, return_segmentation_scores: Literal[False] = False
) -> list[mx.array]: ...


@overload
def post_process_semantic_segmentation(
    outputs: Outputs, target_sizes: Sequence[Size] | None = None, *, return_segmentation_scores: Literal[True]
) -> list[SemanticSegmentationScores]: ...


def post_process_semantic_segmentation(
    outputs: Outputs, target_sizes: Sequence[Size] | None = None, return_segmentation_scores: bool = False
) -> list[mx.array] | list[SemanticSegmentationScores]:
    """Give each pixel the class with the highest score.

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        target_sizes: (height, width) of each result; 384x384 if None.
        return_segmentation_scores: return the scores too, 4 bytes for each class and pixel.

    Returns:
        (height, width) int32 for each image, the class of each pixel; with scores, an object with
        `segmentation` and `segmentation_scores`, (num_labels, height, width) float32.

    Raises:
        InputError: if logits are missing or not finite, or a size does not fit.
    """
    check_value("return_segmentation_scores", return_segmentation_scores, bool)
    class_logits, mask_logits = extract_logits(outputs)
    sizes = _image_sizes(len(class_logits), target_sizes)
    images = zip(class_logits, mask_logits, sizes, strict=True)
    if not return_segmentation_scores:
        return [semantic_map(*image, resize_scores=True) for image in images]
    all_scores = (class_scores(*image, resize_scores=True) for image in images)
    return [SemanticSegmentationScores(mx.argmax(x, axis=0).astype(mx.int32), x) for x in all_scores]


def post_process_panoptic_segmentation(
    outputs: Outputs,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    label_ids_to_fuse: Collection[int] | None = None,
    target_sizes: Sequence[Size] | None = None,
) -> list[Result]:
    """Divide each image into segments that do not overlap.

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        threshold: a query competes if its class has a probability above this.
        mask_threshold: minimum of p(class) x p(mask) for the pixels of a mask.
        overlap_mask_area_threshold: a query is kept if it won a larger fraction of its mask.
        label_ids_to_fuse: classes whose segments get one id; no class if None.
        target_sizes: (height, width) of each result; 384x384 if None.

    Returns:
        For each image a dict. `segmentation` is (height, width) int32 with 0 for no segment; if no query competed, it
        is float32 with -1 everywhere. `segments_info` has `id`, `label_id`, `was_fused` and `score` of each query that
        was kept. The id after that of a fused segment is one more than the fused one, so an id may occur twice.

    Raises:
        InputError: if logits are missing or not finite, or a size does not fit.
    """
    check_thresholds(
        threshold=threshold,
        mask_threshold=mask_threshold,
        overlap_mask_area_threshold=overlap_mask_area_threshold,
    )
    fused_ids = whole_numbers("label_ids_to_fuse", () if label_ids_to_fuse is None else label_ids_to_fuse)
    class_logits, mask_logits = extract_logits(outputs)
    sizes = _image_sizes(len(class_logits), target_sizes)
    return [
        _panoptic(*image, fused_ids, threshold, mask_threshold, overlap_mask_area_threshold)
        for image in zip(class_logits, mask_logits, sizes, strict=True)
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

    Objects are in the order of their class probabilities, highest first. Torch sorts them like this for 64 classes and
    more; with fewer the order depends on its C++ library. Where objects overlap, the map shows the last one.

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        threshold: minimum score of an object.
        mask_threshold: has no effect, as in transformers: masks have a probability above one half.
        overlap_mask_area_threshold: has no effect, as in transformers.
        target_sizes: (height, width) of each result; 384x384 if None.
        return_coco_annotation: return run lengths instead of the map.
        return_binary_maps: return a mask for each object instead of the map.

    Returns:
        For each image a dict. `segments_info` has `id` from 0, `label_id`, `was_fused` and `score` of each object.
        `segmentation` is (height, width) float32 with -1 for no object; or a list with the runs (start from 1, length)
        of -1, if it occurs, and of each object; or (N, height, width) float32 of 0 and 1, if there is any object.

    Raises:
        InputError: if logits are missing or not finite, a size does not fit, or both other forms are requested.
    """
    check_value("return_coco_annotation", return_coco_annotation, bool)
    check_value("return_binary_maps", return_binary_maps, bool)
    if return_coco_annotation and return_binary_maps:
        raise InputError("return_coco_annotation and return_binary_maps exclude each other; set one of them")
    check_thresholds(threshold=threshold)
    class_logits, mask_logits = extract_logits(outputs)
    sizes = _image_sizes(len(class_logits), target_sizes)
    results = []
    for image_class_logits, image_mask_logits, size in zip(class_logits, mask_logits, sizes, strict=True):
        nearest = np.ix_(*(_nearest_indices(side) for side in size.target_size))
        segments, masks = _instances(image_class_logits, image_mask_logits, nearest, threshold)
        segmentation = np.full(_MASK_SIZE, _NO_SEGMENT, np.float32)
        for segment_id, mask in enumerate(masks):
            segmentation[mask] = segment_id
        result: Any
        if return_coco_annotation:
            result = _run_lengths(segmentation[nearest])
        elif return_binary_maps and segments:
            result = mx.stack([mx.array(mask[nearest]).astype(mx.float32) for mask in masks])
        else:
            result = mx.array(segmentation[nearest])
        results.append({"segmentation": result, "segments_info": segments})
    return results


def _image_sizes(batch_size: int, target_sizes: Sequence[Size] | None) -> list[ImageSizes]:
    targets = [_MASK_SIZE] * batch_size
    if target_sizes is not None:
        targets = check_sizes("target_sizes", target_sizes, batch_size)
    return [ImageSizes(_MASK_SIZE, _MASK_SIZE, target) for target in targets]


def _panoptic(
    class_logits: mx.array,
    mask_logits: mx.array,
    sizes: ImageSizes,
    label_ids_to_fuse: Collection[int],
    threshold: float,
    mask_threshold: float,
    overlap_threshold: float,
) -> Result:
    kept, scores, label_ids = kept_queries(class_logits, threshold)
    if not len(kept):
        return {"segmentation": mx.full(sizes.target_size, _NO_SEGMENT, mx.float32), "segments_info": []}
    winners = np.empty(sizes.target_size, np.min_scalar_type(len(kept)))
    won_areas, mask_areas = np.zeros(len(kept), np.int64), np.zeros(len(kept), np.int64)
    query_scores = mx.array(scores)
    for tile in resized_tiles(mask_logits[mx.array(kept)], sizes, len(kept), stop_at_input_size=True):
        # Unlike the original project it resizes probabilities, not logits, and thresholds p(class) x p(mask).
        probabilities = sigmoid(tile.logits)
        assert tile.resize_weights is not None  # because of stop_at_input_size
        weighted = resize_tile(probabilities, tile.resize_weights) * query_scores
        winner = np.array(mx.argmax(weighted, axis=-1))
        won_areas += np.bincount(winner.ravel(), minlength=len(kept))
        mask_areas += np.array((weighted >= float(mask_threshold)).sum(axis=0).sum(axis=0))
        winners[tile.region] = winner

    segments: list[Result] = []
    fused: dict[int, int] = {}  # from a class to the id of its segment
    query_to_id = np.zeros(len(kept), np.int32)
    segment_id = 0
    for query, (score, label_id) in enumerate(zip(scores.tolist(), label_ids.tolist(), strict=True)):
        won, own = np.float32(won_areas[query]), np.float32(mask_areas[query])
        if not (won > 0 and own > 0 and float(won / own) > overlap_threshold):
            continue
        segment_id = fused.get(label_id, segment_id + 1)
        fuse = label_id in label_ids_to_fuse
        if fuse:
            fused[label_id] = segment_id
        query_to_id[query] = segment_id
        segments.append({"id": segment_id, "label_id": label_id, "was_fused": fuse, "score": round(score, 6)})
    return {"segmentation": mx.array(query_to_id)[mx.array(winners)], "segments_info": segments}


def _instances(
    class_logits: mx.array, mask_logits: mx.array, nearest: tuple[np.ndarray, ...], threshold: float
) -> tuple[list[Result], list[np.ndarray]]:
    """Return the objects that have a pixel in the result, and their masks, (384, 384) bool."""
    queries, label_ids, scores = top_pairs(class_logits, len(mask_logits))
    distinct, inverse = np.unique(queries, return_inverse=True)
    sizes = ImageSizes(_MASK_SIZE, _MASK_SIZE, _MASK_SIZE)
    _, means, _ = mask_statistics(mask_logits[mx.array(distinct)], sizes)
    scores = scores * means[inverse]
    rows, columns = (mx.array(axis_weights(mask_logits.shape[1 + axis], sizes, axis)) for axis in (0, 1))
    segments: list[Result] = []
    masks = []
    for query, label_id, score in zip(queries.tolist(), label_ids.tolist(), scores.tolist(), strict=True):
        if score < threshold:
            continue
        mask = np.array(rows @ (mask_logits[query] @ columns.T) > 0)
        if mask[nearest].any():
            segments.append({"id": len(segments), "label_id": label_id, "was_fused": False, "score": round(score, 6)})
            masks.append(mask)
    return segments, masks


def _nearest_indices(length: int) -> np.ndarray:
    """Return the input index of each output in torch's "nearest" mode, which multiplies in float32."""
    scale = np.float32(_MASK_SIZE[0]) / np.float32(length)
    return np.minimum((np.arange(length, dtype=np.float32) * scale).astype(np.int64), _MASK_SIZE[0] - 1)


def _run_lengths(segmentation: np.ndarray) -> list[list[int]]:
    flat = segmentation.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=np.nan))
    lengths = np.diff(starts, append=flat.size)
    runs = np.stack([starts + 1, lengths], axis=1)
    values = flat[starts]
    return [runs[values == value].ravel().tolist() for value in np.unique(values)]

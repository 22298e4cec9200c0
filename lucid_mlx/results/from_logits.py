"""From a network's logits to results at the photos' own sizes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lucid_mlx.postprocessing import instance_segmentation, panoptic_segmentation, semantic_segmentation
from lucid_mlx.postprocessing.inputs import Outputs, Thresholds
from lucid_mlx.results.appearance import appearances
from lucid_mlx.results.segmentation import Segmentation

Photo = tuple[np.ndarray, str | None]  # (H, W, 3) uint8, RGB, and its name if it has one


def segmentations(
    logits: Outputs,
    photos: Sequence[Photo],
    task: str,
    labels: Mapping[int, str],
    *,
    thing_ids: Collection[int] | None,
    thresholds: Thresholds,
    resize_scores: bool,
    keep_candidates: bool,
    for_tracking: bool,
    sizes: Mapping[str, Any],
) -> list[Segmentation]:
    """Find the segments of a batch of photos.

    Args:
        logits: the network's, with `class_queries_logits` and `masks_queries_logits`.
        photos: the photos of the batch.
        task: "semantic", "instance" or "panoptic".
        labels: names of the classes, by class id.
        thing_ids: the classes that have countable objects; None for all.
        thresholds: what counts as found.
        resize_scores: as of `semantic_segmentation`.
        keep_candidates: keep in each result what `Segmentation.with_threshold` needs.
        for_tracking: keep in each result what `lucid_mlx.video.Tracker` needs.
        sizes: `input_size` and `content_sizes` of the batch, as post-processing takes them.

    Returns:
        The results, in the order of the photos.
    """
    sizes = {**sizes, "target_sizes": [pixels.shape[:2] for pixels, _ in photos]}
    if task == "semantic":
        maps = semantic_segmentation(logits, resize_scores=resize_scores, **sizes)
        return [
            replace(Segmentation.from_semantic(pixels, np.array(classes), labels, name), _appearances={})
            for (pixels, name), classes in zip(photos, maps, strict=True)
        ]
    threshold = thresholds.score_threshold(task)
    if task == "panoptic":
        panoptic = panoptic_segmentation(
            logits,
            thing_ids=labels if thing_ids is None else thing_ids,
            threshold=threshold,
            mask_threshold=thresholds.mask_threshold,
            overlap_mask_area_threshold=thresholds.overlap_mask_area_threshold,
            keep_candidates=keep_candidates,
            **sizes,
        )
        results = [
            Segmentation.from_panoptic(pixels, found, labels, name)
            for (pixels, name), found in zip(photos, panoptic, strict=True)
        ]
    else:
        instances = instance_segmentation(logits, thing_ids=thing_ids, top_k=thresholds.top_k, **sizes)
        results = [
            Segmentation.from_instances(pixels, found, threshold, labels, name, keep_candidates=keep_candidates)
            for (pixels, name), found in zip(photos, instances, strict=True)
        ]
    used = replace(thresholds, threshold=threshold)
    kept = appearances(results, logits, sizes) if for_tracking else [None] * len(results)
    return [replace(result, thresholds=used, _appearances=each) for result, each in zip(results, kept, strict=True)]

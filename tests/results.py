"""Results that several tests need, of random logits and of masks that are given."""

import mlx.core as mx
import numpy as np

from lucid_mlx import Segmentation
from lucid_mlx.postprocessing import instance_segmentation, panoptic_segmentation, semantic_segmentation

LABELS = {0: "wall", 1: "floor, flooring", 2: "sofa, couch, lounge", 3: "screen door, screen", 4: "screen"}
INPUT = (28, 40)


def logits(seed, queries=6):
    rng = np.random.default_rng(seed)
    arrays = 4 * rng.standard_normal((1, queries, len(LABELS) + 1)), 5 * rng.standard_normal((1, queries, 7, 10))
    names = ("class_queries_logits", "masks_queries_logits")
    return {name: mx.array(array.astype(np.float32)) for name, array in zip(names, arrays, strict=True)}


def segmented(task, seed=0, size=(33, 50), threshold=0.1, name="photos/cat.jpg", **options):
    """The result of random logits."""
    photo = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    outputs, sizes = logits(seed), {"target_sizes": [size]}
    if task == "semantic":
        classes = np.array(semantic_segmentation(outputs, INPUT, **sizes)[0])
        return Segmentation.from_semantic(photo, classes, LABELS, name)
    if task == "panoptic":
        found = panoptic_segmentation(
            outputs, INPUT, thing_ids={2, 3}, threshold=threshold, overlap_mask_area_threshold=0.1, **sizes, **options
        )[0]
        return Segmentation.from_panoptic(photo, found, LABELS, name)
    found = instance_segmentation(outputs, INPUT, **sizes)[0]
    return Segmentation.from_instances(photo, found, threshold, LABELS, name, **options)


def of_masks(*masks, image=None):
    """A semantic result whose classes have the given masks, (H, W), which do not overlap, and what is left."""
    classes = np.full(np.shape(masks[0]), len(masks), np.int32)
    for number, mask in enumerate(masks):
        classes[np.asarray(mask, bool)] = number
    image = np.zeros((*classes.shape, 3), np.uint8) if image is None else image
    return Segmentation.from_semantic(image, classes, {number: f"c{number}" for number in range(len(masks) + 1)})

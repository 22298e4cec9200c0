"""The labels of a batch, checked."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown


@dataclass(frozen=True)
class Targets:
    """The objects of the images of a batch."""

    masks: list[mx.array]
    """(N, height, width) of each image, one size for all."""
    classes: list[np.ndarray]
    """(N,) int32 of each image."""


def read_targets(
    mask_labels: Sequence[mx.array], class_labels: Sequence[mx.array], batch: int, num_labels: int
) -> Targets:
    """Check labels and return them as targets.

    Args:
        mask_labels: for each image (N, height, width); N may be 0. Booleans; whole numbers, 0 outside the object and 1
            or 255 inside; or floats from 0 to 1, the share of a pixel that the object covers.
        class_labels: for each image the N class numbers.
        batch: number of images.
        num_labels: number of classes.

    Returns:
        The same, masks of 0 and 255 as booleans, classes as int32.

    Raises:
        InputError: if their numbers, shapes, values or classes do not fit.
    """
    if len(mask_labels) != batch or len(class_labels) != batch:
        raise InputError(
            f"mask_labels and class_labels need one entry for each of the {batch} images; they have "
            f"{len(mask_labels)} and {len(class_labels)}"
        )
    try:
        masks = [x if isinstance(x, mx.array) else mx.array(x) for x in mask_labels]
        classes = [np.asarray(x) for x in class_labels]
    except (TypeError, ValueError):
        raise InputError("the entries of mask_labels and class_labels must be arrays, or lists of numbers") from None
    for number, (mask, labels) in enumerate(zip(masks, classes, strict=True)):
        if mask.ndim != 3 or labels.shape != mask.shape[:1] or mask.shape[1:] != masks[0].shape[1:]:
            raise InputError(
                f"image {number} of the batch has masks of the shape {tuple(mask.shape)} and class labels of the shape "
                f"{labels.shape}; expected (N, height, width), of one size for the batch, and (N,)"
            )
        if labels.size and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_labels):
            numbers = labels.dtype.kind in "iuf"
            found = f"{labels.min()} to {labels.max()} ({labels.dtype})" if numbers else shown(labels.tolist())
            raise InputError(
                f"class labels must be whole numbers from 0 to {num_labels - 1}; image {number} has {found}"
            )
    checked = [_check_values(mask, f"image {number} of the batch") for number, mask in enumerate(masks)]
    return Targets(checked, [labels.astype(np.int32) for labels in classes])


def _check_values(masks: mx.array, name: str) -> mx.array:
    """Return masks of 0 and 255 as booleans, and others as they are."""
    if masks.dtype == mx.bool_ or masks.size == 0:
        return masks
    low, high = (float(np.array(x.astype(mx.float32))) for x in (masks.min(), masks.max()))
    if high == 255 and mx.all((masks == 0) | (masks == 255)).item():
        return masks == 255
    whole = mx.issubdtype(masks.dtype, mx.integer)
    if not (low in (0, 1) and high in (0, 1) if whole else low >= 0 and high <= 1):
        raise InputError(
            f"{name} has masks with values from {low:g} to {high:g} ({masks.dtype}); expected booleans, 0 and 1, 0 and "
            "255, or floats from 0 to 1: for each object the share of a pixel that it covers"
        )
    return masks

"""What every kind of post-processing reads: the network's logits, three sizes for each image, and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_mlx.errors import InputError

Size = tuple[int, int]
Outputs = Mapping[str, Any]

SCORES = {"instance": 0.5, "panoptic": 0.8}  # the original project's; in a semantic map every pixel has a class


class View(NamedTuple):
    """How an image lies in the network's input and how large its result shall be; heights and widths.

    Attributes:
        input_size: what the network saw, padding and all.
        content_size: the top left part of it that shows the image.
        size: of the result.
    """

    input_size: Size
    content_size: Size
    size: Size


@dataclass(frozen=True)
class Thresholds:
    """What counts as found; the defaults are the original project's.

    Attributes:
        threshold: score from which a segment counts; None for the task's own: 0.5 for instances, 0.8 for panoptic
            segments.
        mask_threshold: probability from which a pixel belongs to a panoptic segment.
        overlap_mask_area_threshold: the part of its mask that others must leave to a panoptic segment.
        top_k: how many pairs of query and class may be instances.

    Raises:
        InputError: if one is out of range.
    """

    threshold: float | None = None
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.8
    top_k: int = 100

    def __post_init__(self) -> None:
        for name in ("threshold", "mask_threshold", "overlap_mask_area_threshold"):
            value = getattr(self, name)
            if value is None and name == "threshold":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InputError(f"{name} must be a number from 0 to 1, got {value!r}")
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 1:
            raise InputError(f"top_k must be a whole number of at least 1, got {self.top_k!r}")

    def score(self, task: str) -> float:
        """Return the score from which a segment counts in a task, "instance" or "panoptic"."""
        return SCORES[task] if self.threshold is None else self.threshold


def read_logits(outputs: Outputs) -> tuple[mx.array, mx.array]:
    """Take the logits out of the network's outputs.

    Returns:
        Class logits (B, Q, num_labels + 1), "no object" last, and mask logits (B, Q, H / 4, W / 4), both float32.

    Raises:
        InputError: if they are missing, do not fit together, or are not finite.
    """
    logits = []
    for name, ndim in (("class_queries_logits", 3), ("masks_queries_logits", 4)):
        value = outputs.get(name)
        if not isinstance(value, mx.array) or value.ndim != ndim or min(value.shape) < 1:
            got = tuple(value.shape) if isinstance(value, mx.array) else type(value).__name__
            raise InputError(f"the outputs' {name} must be an array of {ndim} dimensions, got {got}")
        value = value.astype(mx.float32)
        if not mx.isfinite(value).all().item():
            raise InputError(f"{name} holds NaN or infinite values; check the weights and the pixels")
        logits.append(value)
    classes, masks = logits
    if classes.shape[:2] != masks.shape[:2]:
        raise InputError(
            f"class_queries_logits {classes.shape} and masks_queries_logits {masks.shape} differ in batch or queries"
        )
    if classes.shape[2] < 2:
        raise InputError('class_queries_logits must have a label beside "no object", its last one; got one in all')
    return classes, masks


def read_views(
    batch: int, input_size: Size, content_sizes: Sequence[Size] | None, target_sizes: Sequence[Size] | None
) -> list[View]:
    """Pair the sizes of each image; the image fills the input, and the result has the size seen, if None is given.

    Raises:
        InputError: for lists of another length than the batch, sizes below 1, or a part larger than the whole.
    """
    whole = read_sizes("input_size", [input_size], 1)[0]
    content_size = [whole] * batch if content_sizes is None else read_sizes("content_sizes", content_sizes, batch)
    if outside := [size for size in content_size if size[0] > whole[0] or size[1] > whole[1]]:
        raise InputError(f"content_sizes must lie within the input_size {whole}, got {outside[0]}")
    targets = content_size if target_sizes is None else read_sizes("target_sizes", target_sizes, batch)
    return [View(whole, part, target) for part, target in zip(content_size, targets, strict=True)]


def read_sizes(name: str, sizes: Sequence[Size], batch: int) -> list[Size]:
    """Check heights and widths, one pair for each image.

    Raises:
        InputError: for another number of pairs, or a side that is no whole number of at least 1.
    """
    if not isinstance(sizes, list | tuple) or len(sizes) != batch:
        raise InputError(f"{name} must be a list with a (height, width) for each of the {batch} images, got {sizes!r}")
    for size in sizes:
        if not (isinstance(size, list | tuple) and len(size) == 2 and all(_is_side(side) for side in size)):
            raise InputError(f"{name} must hold whole heights and widths of at least 1, got {size!r}")
    return [(int(height), int(width)) for height, width in sizes]


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1

"""What every post-processing function reads: the network's logits, the sizes of each image, and thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import Range, check_image_size, check_values, field_problems

Size = tuple[int, int]
Outputs = Mapping[str, Any]

# The original project's. Semantic maps have no threshold: every pixel gets a class.
DEFAULT_THRESHOLDS = {"instance": 0.5, "panoptic": 0.8}

# What a threshold may be at least and at most.
RANGES: dict[str, Range] = {
    "threshold": (0, 1),
    "mask_threshold": (0, 1),
    "overlap_mask_area_threshold": (0, 1),
    "top_k": (1, 1_000_000),
}


class ImageSizes(NamedTuple):
    """The sizes of one image, each (height, width).

    Attributes:
        input_size: of the network's input, with padding.
        content_size: of the top left part of the input that shows the image.
        target_size: of the result.
    """

    input_size: Size
    content_size: Size
    target_size: Size


@dataclass(frozen=True)
class Thresholds:
    """Which segments to keep. The defaults are the original project's.

    Attributes:
        threshold: minimum score of a segment; None for the task's default, 0.5 for instances and 0.8 for panoptic
            segments.
        mask_threshold: minimum probability of a pixel of a panoptic segment.
        overlap_mask_area_threshold: a panoptic segment is dropped if other segments leave it a smaller fraction of
            its mask.
        top_k: maximum number of (query, class) pairs that become instances.

    Raises:
        InputError: if a value has a wrong type or is out of range.
    """

    threshold: float | None = None
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.8
    top_k: int = 100

    def __post_init__(self) -> None:
        if problems := field_problems(self, RANGES):
            raise InputError("; ".join(problems))

    def score_threshold(self, task: str) -> float:
        """Return the minimum score of a segment for a task, "instance" or "panoptic"."""
        return DEFAULT_THRESHOLDS[task] if self.threshold is None else self.threshold


def extract_logits(outputs: Outputs) -> tuple[mx.array, mx.array]:
    """Take the logits out of the network's outputs.

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.

    Returns:
        Class logits (B, Q, num_labels + 1), "no object" last, and mask logits (B, Q, H / 4, W / 4), both float32.

    Raises:
        InputError: if they are missing, do not fit together, or are not finite.
    """
    if not isinstance(outputs, Mapping):
        raise InputError(f"the outputs must be a dictionary, got {shown(outputs)}")
    logits = []
    for name, ndim in (("class_queries_logits", 3), ("masks_queries_logits", 4)):
        value = outputs.get(name)
        if not isinstance(value, mx.array) or value.ndim != ndim or min(value.shape) < 1:
            got = tuple(value.shape) if isinstance(value, mx.array) else type(value).__name__
            raise InputError(f"the outputs' {name} must be an array of {ndim} dimensions, got {got}")
        value = value.astype(mx.float32)
        # A sum takes a tenth of the time; it overflows for finite numbers too, but not for logits.
        if not (mx.isfinite(value.sum()).item() or mx.isfinite(value).all().item()):
            raise InputError(f"{name} holds NaN or infinite values; check the weights and the pixels")
        logits.append(value)
    class_logits, mask_logits = logits
    if class_logits.shape[:2] != mask_logits.shape[:2]:
        raise InputError(
            f"class_queries_logits {class_logits.shape} and masks_queries_logits {mask_logits.shape} differ in batch "
            "or queries"
        )
    if class_logits.shape[2] < 2:
        raise InputError('class_queries_logits must have a label and "no object", the last one; got "no object" alone')
    return class_logits, mask_logits


def image_sizes(
    batch_size: int, input_size: Size, content_sizes: Sequence[Size] | None, target_sizes: Sequence[Size] | None
) -> list[ImageSizes]:
    """Check the sizes that a post-processing function was given, and collect them for each image.

    Args:
        batch_size: number of images.
        input_size: (height, width) of the network's input.
        content_sizes: for each image the (height, width) of the top left part of the input that shows it; the whole
            input if None.
        target_sizes: for each image the (height, width) of its result; its content size if None.

    Returns:
        The sizes of each image.

    Raises:
        InputError: if a list has another length than the batch, a size is below 1, or a content size exceeds the input.
    """
    whole = check_sizes("input_size", [input_size], 1)[0]
    contents = [whole] * batch_size
    if content_sizes is not None:
        contents = check_sizes("content_sizes", content_sizes, batch_size)
    if outside := [size for size in contents if size[0] > whole[0] or size[1] > whole[1]]:
        raise InputError(f"content_sizes must lie within the input_size {whole}, got {outside[0]}")
    targets = contents if target_sizes is None else check_sizes("target_sizes", target_sizes, batch_size)
    height, width = max([whole, *targets], key=lambda size: size[0] * size[1])
    check_image_size(width, height, "input_size" if (height, width) == whole else "target_sizes")
    return [ImageSizes(whole, content, target) for content, target in zip(contents, targets, strict=True)]


def check_thresholds(**thresholds: float) -> None:
    """Check thresholds that a post-processing function was given.

    Args:
        **thresholds: the fields of `Thresholds`.

    Raises:
        InputError: if a value is no number.
    """
    check_values(*((name, value, float) for name, value in thresholds.items()))


def check_sizes(name: str, sizes: Sequence[Size], batch_size: int) -> list[Size]:
    """Check a list of sizes, one for each image.

    Args:
        name: name of the argument, for error messages.
        sizes: (height, width) of each image.
        batch_size: number of images.

    Returns:
        The sizes as tuples.

    Raises:
        InputError: if the list has another length than the batch, or a side is not a whole number of at least 1.
    """
    if not isinstance(sizes, list | tuple) or len(sizes) != batch_size:
        raise InputError(
            f"{name} must be a list with a (height, width) for each of the {batch_size} images, got {shown(sizes)}"
        )
    for size in sizes:
        if not (isinstance(size, list | tuple) and len(size) == 2 and all(_is_side(side) for side in size)):
            raise InputError(f"{name} must hold whole heights and widths of at least 1, got {shown(size)}")
    return [(int(height), int(width)) for height, width in sizes]


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1

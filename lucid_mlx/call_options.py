"""How a call of `Segmenter` or `VideoSegmenter` segments its images."""

import warnings
from dataclasses import replace
from typing import Literal, NamedTuple

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, check_values


class CallOptions(NamedTuple):
    """The arguments of `Segmenter.stream`, checked.

    Attributes:
        batch_size: images that are read together.
        thresholds: what counts as found.
        bgr: whether arrays are BGR.
        skip: whether an image that cannot be read is skipped.
        progress: whether to show a progress bar.
        for_tracking: whether results keep what `lucid_mlx.video.Tracker` needs.
        ahead: whether images are read, and the network runs, before the results of images before them are asked for:
            also if it is not known how many there are, as in a film. A camera's may still have to happen.
    """

    batch_size: int
    thresholds: Thresholds
    bgr: bool
    skip: bool
    progress: bool
    for_tracking: bool
    ahead: bool = False


def call_options(
    task: str, default: float | None, batch_size: int, thresholds: Thresholds | None, threshold: float | None,
    bgr: bool, on_error: str = "raise", progress: bool = False, for_tracking: bool = False,
) -> CallOptions:  # fmt: skip
    """Check the arguments of a call, and put them together.

    Args:
        task: of the segmenter.
        default: minimum score of a segment for calls that give none; None for the task's default.
        batch_size: as of `Segmenter.stream`, and so are the others.
        thresholds: see there.
        threshold: see there.
        bgr: see there.
        on_error: see there.
        progress: see there.
        for_tracking: see there.

    Returns:
        The options.

    Raises:
        InputError: if a value has a wrong type or is out of range.
    """
    check_values(
        ("task", task, Literal["semantic", "instance", "panoptic"]),
        ("batch_size", batch_size, int, 1, MAX_BATCH_SIZE),
        ("thresholds", thresholds, Thresholds | None),
        ("threshold", threshold, float | None, 0, 1),
        ("bgr", bgr, bool),
        ("on_error", on_error, Literal["raise", "skip"]),
        ("progress", progress, bool),
        ("for_tracking", for_tracking, bool),
    )
    warn_of_threshold(task, threshold, 4)
    thresholds = thresholds or Thresholds()
    if threshold is not None and thresholds.threshold is not None:
        raise InputError("threshold is given twice, alone and in thresholds; give one")
    chosen = default if threshold is None else threshold
    if thresholds.threshold is None and chosen is not None:
        thresholds = replace(thresholds, threshold=chosen)
    return CallOptions(batch_size, thresholds, bgr, on_error == "skip", progress, for_tracking)


def warn_of_threshold(task: str, threshold: float | None, stacklevel: int) -> None:
    """Warn of a threshold that changes nothing.

    Args:
        task: of the segmenter.
        threshold: that was given, if one was.
        stacklevel: of the warning.
    """
    if threshold is not None and task == "semantic":
        warnings.warn("semantic segmentation takes no threshold: every pixel gets a class", stacklevel=stacklevel)

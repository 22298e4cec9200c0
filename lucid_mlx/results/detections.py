"""Segments as Roboflow's `supervision` has them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.optional_dependency import require

if TYPE_CHECKING:
    import supervision


def to_detections(segments: Sequence[Segment], masks: np.ndarray) -> "supervision.Detections":
    """Return segments as `supervision.Detections.from_transformers` returns those of transformers.

    Args:
        segments: the segments.
        masks: their masks, (N, H, W) bool.

    Returns:
        The detections; boxes are inclusive, and there is no confidence in a semantic segmentation.

    Raises:
        InputError: if supervision is not installed.
    """
    require("supervision", "exports")
    import supervision
    from supervision.config import CLASS_NAME_DATA_FIELD

    boxes = [(left, top, right - 1, bottom - 1) for left, top, right, bottom in (one.box for one in segments)]
    scores = [one.score for one in segments if one.score is not None]
    return supervision.Detections(
        xyxy=np.array(boxes, int).reshape(-1, 4),
        mask=masks,
        confidence=np.array(scores, float) if len(scores) == len(segments) else None,
        class_id=np.array([one.label_id for one in segments], int),
        data={CLASS_NAME_DATA_FIELD: np.array([one.label for one in segments])},
    )

"""What counts as found."""

from dataclasses import dataclass

from lucid_mlx.errors import InputError

SCORES = {"instance": 0.5, "panoptic": 0.8}  # the original project's; in a semantic map every pixel has a class


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

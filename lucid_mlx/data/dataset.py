"""Labeled images, whatever files they come from: records with an image and a target each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError


class Target(NamedTuple):
    """What an image shows, N parts of it.

    Parts overlap in instance targets alone. A pixel of no part is unknown in semantic and panoptic targets, where it
    counts neither in training nor in an evaluation, and background in instance targets.

    Attributes:
        masks: (N, H, W) bool. Semantic: one a class that is present; panoptic: one a segment, stuff included;
            instance: one an object.
        class_ids: (N,) int32, which of the dataset's classes.
        crowd: (N,) bool, parts with more objects than were told apart: left out of training, ignored by evaluations.
        areas: (N,) float64, pixels, as the annotation has them; COCO's sizes go by it.
        ids: (N,) objects, what the annotation file calls each part: its id; the label in a semantic map.
    """

    masks: np.ndarray
    class_ids: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    ids: np.ndarray

    def class_map(self) -> np.ndarray:
        """Return the class of each pixel, (H, W) int32, and -1 where none is known."""
        classes = np.full(self.masks.shape[1:], -1, np.int32)
        for mask, number in zip(self.masks, self.class_ids, strict=True):
            classes[mask] = number
        return classes


class Record(Protocol):
    """A labeled image. It is small and can be pickled: pixels are read when they are asked for."""

    @property
    def name(self) -> str:
        """What to call it in messages: the image's path, if it has one."""

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8, RGB.

        Raises:
            InputError: if it cannot be read.
        """

    def target(self) -> Target:
        """Read what the image shows.

        Raises:
            InputError: if the labels cannot be read, or contradict themselves.
        """


@dataclass(frozen=True)
class Dataset:
    """Records of one kind.

    Attributes:
        task: "semantic", "instance" or "panoptic".
        names: of the classes, in the order of their numbers.
        things: the classes that have countable objects.
        records: the labeled images.
    """

    task: str
    names: tuple[str, ...]
    things: frozenset[int]
    records: Sequence[Record]

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}")
        if not self.names:
            raise InputError("a dataset needs at least one class, got none")
        if not self.records:
            raise InputError("a dataset needs at least one image, got none")

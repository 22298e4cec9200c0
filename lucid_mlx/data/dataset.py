"""Labeled images in memory, whatever file format they come from: a dataset has records, a record a target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from lucid_mlx.data.masks import Masks
from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_CLASSES, MAX_NAME, check_choice, check_value, whole_numbers


class Target(NamedTuple):
    """The ground truth of an image: N masks with their classes.

    Masks overlap in instance targets only. In semantic and panoptic targets a pixel without a mask has no known class:
    it is ignored in training and in evaluation. In instance targets it is background.

    Attributes:
        masks: (N, H, W) bool: an array, or what has its shape and items and takes less memory. Semantic: one for each
            class in the image; panoptic: one for each segment, stuff included; instance: one for each object.
        class_ids: (N,) int32, indices of the dataset's classes.
        crowd: (N,) bool, COCO's `iscrowd`: masks of several objects that were not separated. Training leaves them out,
            and evaluation ignores them.
        areas: (N,) float64, in pixels, as the annotation file has them. COCO's small, medium and large objects are
            defined by it.
        ids: (N,) object: the id of each annotation or segment in its file, or the label in a label map.
        left_out: segments of the file that are not here: the reason and the id of each.
        keeps_empty: whether training keeps masks that a crop has emptied, as the original project does for panoptic
            segments.
    """

    masks: np.ndarray | Masks
    class_ids: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    ids: np.ndarray
    left_out: tuple[tuple[str, int | str], ...] = ()
    keeps_empty: bool = False

    def class_map(self) -> np.ndarray:
        """Return the class of each pixel, (H, W) int32, and -1 where it is not known."""
        classes = np.full(self.masks.shape[1:], -1, np.int32)
        for index, class_id in enumerate(self.class_ids):
            classes[self.masks[index]] = class_id
        return classes

    def fill(self, out: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Write the pixels of the masks in some rows and columns.

        Args:
            out: (N, rows, columns) bool, all False.
            rows: their indices, rising or falling.
            columns: their indices, rising or falling.
        """
        if not isinstance(self.masks, np.ndarray):
            self.masks.fill(out, rows, columns)
            return
        for part, mask in zip(out, self.masks, strict=True):
            part[:] = mask[np.ix_(rows, columns)]

    def counts(self) -> np.ndarray:
        """Count the pixels of each mask, (N,) int64."""
        return np.count_nonzero(self.masks, axis=(1, 2)) if isinstance(self.masks, np.ndarray) else self.masks.counts()


class Record(Protocol):
    """A labeled image. A record is small and can be pickled: pixels are read when `image` or `target` is called."""

    @property
    def name(self) -> str:
        """The name in messages: the path of the image, if it has one."""

    def image(self) -> np.ndarray:
        """Read the image.

        Returns:
            (H, W, 3) uint8, RGB.

        Raises:
            InputError: if it cannot be read.
        """

    def target(self) -> Target:
        """Read the ground truth.

        Returns:
            The masks and their classes, at the size of the image.

        Raises:
            InputError: if the labels cannot be read, or contradict each other.
        """


@dataclass(frozen=True)
class Dataset:
    """Labeled images for one task.

    Attributes:
        task: "semantic", "instance" or "panoptic".
        class_names: the name of each class, by its index.
        thing_ids: the classes that have countable objects.
        records: the labeled images.
        federated: whether only some classes are labeled in each image, as in LVIS; they cannot be evaluated.

    Raises:
        InputError: if the task is unknown, a value has a wrong type, or there are no classes or no images.
    """

    task: str
    class_names: tuple[str, ...]
    thing_ids: frozenset[int]
    records: Sequence[Record]
    federated: bool = False

    def __post_init__(self) -> None:
        check_choice("task", self.task, TASKS)
        check_value("class_names", self.class_names, Sequence[str])
        if too_long := [name for name in self.class_names if len(name) > MAX_NAME]:
            raise InputError(f"the name of a class has at most {MAX_NAME} characters, got {shown(too_long[0])}")
        if not 1 <= len(self.class_names) <= MAX_CLASSES:
            raise InputError(
                f"a dataset needs at least one class and at most {MAX_CLASSES}, got {len(self.class_names)}"
            )
        if not self.records:
            raise InputError("a dataset needs at least one image, got none")
        whole_numbers("thing_ids", self.thing_ids)

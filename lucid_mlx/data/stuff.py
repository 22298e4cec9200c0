"""Panoptic and semantic labels out of objects: some classes are stuff, and what lies below others is cut off."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from lucid_mlx.data.coco import InstancesRecord
from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.masks import LabelMasks
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import examples

HIDDEN = "covered by others"


@dataclass(frozen=True)
class FlatRecord:
    """An image whose objects are drawn one over another: stuff first, then things, each in the order of the file.

    Attributes:
        record: the image with its objects.
        stuff_ids: the classes of which all objects are one segment.
    """

    record: InstancesRecord
    stuff_ids: frozenset[int]

    @property
    def name(self) -> str:
        """The path of the image."""
        return self.record.name

    @property
    def path(self) -> Any:
        """The image file."""
        return self.record.path

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8, RGB."""
        return self.record.image()

    def target(self) -> Target:
        """Draw the segments.

        Returns:
            A mask for each thing, and for each class of stuff, that is to be seen. Other pixels have no known class.
        """
        objects = self.record.target()
        ids = np.zeros(objects.masks.shape[1:], np.int32)
        is_stuff = np.isin(objects.class_ids, list(self.stuff_ids))
        first: dict[int, int] = {}
        for index in np.argsort(~is_stuff, kind="stable").tolist():
            class_id = int(objects.class_ids[index])
            segment = first.setdefault(class_id, index) if is_stuff[index] else index
            ids[objects.masks[index]] = segment + 1
        segments = sorted({*first.values(), *np.flatnonzero(~is_stuff).tolist()})
        masks = LabelMasks(ids, [segment + 1 for segment in segments])
        counts = masks.counts()
        seen = [segment for segment, count in zip(segments, counts, strict=True) if count]
        return Target(
            LabelMasks(ids, [segment + 1 for segment in seen]),
            objects.class_ids[seen],
            objects.crowd[seen] & ~is_stuff[seen],
            counts[counts > 0].astype(np.float64),
            objects.ids[seen],
            tuple((HIDDEN, objects.ids[x]) for x, count in zip(segments, counts, strict=True) if not count),
            keeps_empty=True,
        )


def with_stuff(dataset: Dataset, stuff: Sequence[str]) -> Dataset:
    """Return a dataset of objects as one of segments that do not overlap.

    Args:
        dataset: for instance segmentation.
        stuff: the names of the classes that have no countable objects.

    Returns:
        The dataset, panoptic, or semantic if all classes are stuff.

    Raises:
        InputError: if it is no dataset for instance segmentation, or has no such class.
    """
    if dataset.task != "instance":
        raise InputError(f"`stuff` is for labels of objects, and these are {dataset.task}; leave that out")
    if unknown := [name for name in stuff if name not in dataset.class_names]:
        raise InputError(f"`stuff` has {examples(unknown)}; the classes are {examples(dataset.class_names, 50)}")
    stuff_ids = frozenset(dataset.class_names.index(name) for name in stuff)
    things = dataset.thing_ids - stuff_ids
    records = [FlatRecord(cast(InstancesRecord, record), stuff_ids) for record in dataset.records]
    return replace(dataset, task="panoptic" if things else "semantic", thing_ids=things, records=records)

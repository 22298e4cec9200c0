"""The classes of the datasets that published models were trained on, in the original project's order."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from lucid_mlx.errors import InputError

# The key in `datasets.json` of each dataset's classes. A dataset is named after its images and its task.
_CLASS_LISTS = {
    "coco_panoptic": "coco_panoptic",
    "coco_instance": "coco_instance",
    "ade20k_semantic": "ade20k",
    "ade20k_panoptic": "ade20k",
    "ade20k_instance": "ade20k_instance",
    "cityscapes_semantic": "cityscapes",
    "cityscapes_panoptic": "cityscapes",
    "cityscapes_instance": "cityscapes_instance",
    "mapillary_vistas_semantic": "mapillary_vistas",
    "mapillary_vistas_panoptic": "mapillary_vistas",
    "youtube_vis_2019_instance": "youtube_vis_2019",
    "youtube_vis_2021_instance": "youtube_vis_2021",
    "ovis_instance": "ovis",
}

DATASETS = tuple(_CLASS_LISTS)
TASKS = ("semantic", "instance", "panoptic")


@dataclass(frozen=True)
class DatasetClass:
    """A class of a dataset.

    Attributes:
        name: in the dataset's own spelling.
        is_thing: whether it has countable instances ("thing"), or has none, such as sky ("stuff").
        color: red, green and blue of the dataset's own palette, 0 to 255.
        category_id: its number in the dataset's own annotations, such as COCO's, which go from 1 and leave some out.
    """

    name: str
    is_thing: bool
    color: tuple[int, int, int]
    category_id: int


def dataset_classes(dataset: str) -> tuple[DatasetClass, ...]:
    """Return the classes of a dataset.

    Args:
        dataset: one of `DATASETS`, such as "coco_panoptic".

    Returns:
        The classes, in the order of their ids.

    Raises:
        InputError: if there is no such dataset.
    """
    if not isinstance(dataset, str) or dataset not in _CLASS_LISTS:
        name = repr(dataset[:60]) if isinstance(dataset, str) else f"of type {type(dataset).__name__}"
        raise InputError(f"there is no dataset {name}; known are {', '.join(DATASETS)}")
    return _class_lists()[_CLASS_LISTS[dataset]]


def dataset_task(dataset: str) -> str:
    """Return the task of a dataset of `DATASETS`, one of `TASKS`."""
    return dataset.rsplit("_", 1)[1]


def known_classes(names: Sequence[str], dataset: str | None) -> tuple[DatasetClass, ...] | None:
    """Return the classes of the dataset that a network was trained on, if it is known.

    Args:
        names: of the network's classes, in the order of their ids.
        dataset: that the network was trained on; None if it is not known.

    Returns:
        The classes; None if the dataset is not in `DATASETS` and no dataset has exactly these class names.
    """
    for known in DATASETS:
        classes = dataset_classes(known)
        if len(classes) == len(names) and (known == dataset or [entry.name for entry in classes] == list(names)):
            return classes
    return None


def find_dataset_classes(names: Collection[str]) -> tuple[DatasetClass, ...] | None:
    """Find the dataset that has exactly these class names, in any order and capitalization.

    Args:
        names: of the classes, casefolded.

    Returns:
        The dataset's classes; None if no dataset has exactly these.
    """
    names = set(names)
    for known in DATASETS:
        if {entry.name.strip().casefold() for entry in dataset_classes(known)} == names:
            return dataset_classes(known)
    return None


@lru_cache
def _class_lists() -> Mapping[str, tuple[DatasetClass, ...]]:
    raw = json.loads((files("lucid_mlx") / "datasets.json").read_text(encoding="utf-8"))
    return {
        key: tuple(DatasetClass(name, bool(is_thing), tuple(color), number) for name, is_thing, color, number in rows)
        for key, rows in raw.items()
    }

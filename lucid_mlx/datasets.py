"""The classes of the datasets that published models were trained on, as the original project registers them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from lucid_mlx.errors import InputError

# A dataset and the task it was prepared for, and the list of `datasets.json` that it shares with its relatives.
_LISTS = {
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
}

DATASETS = tuple(_LISTS)
TASKS = ("semantic", "instance", "panoptic")


@dataclass(frozen=True)
class DatasetClass:
    """A class of a dataset.

    Attributes:
        name: what the dataset calls it.
        thing: whether it has countable instances; stuff, such as sky, has none.
        color: red, green and blue of the dataset's own palette, 0 to 255.
    """

    name: str
    thing: bool
    color: tuple[int, int, int]


def dataset_classes(dataset: str) -> tuple[DatasetClass, ...]:
    """Return the classes of a dataset in training order.

    Args:
        dataset: one of `DATASETS`, such as "coco_panoptic".

    Raises:
        InputError: if there is no such dataset.
    """
    if dataset not in _LISTS:
        raise InputError(f"there is no dataset {dataset!r}; known are {', '.join(DATASETS)}")
    return _lists()[_LISTS[dataset]]


def dataset_task(dataset: str) -> str:
    """Return the task that a dataset of `DATASETS` was prepared for, one of `TASKS`."""
    return dataset.rsplit("_", 1)[1]


def known_thing_ids(names: Sequence[str], dataset: str | None) -> frozenset[int] | None:
    """Return which classes have countable objects, as far as a dataset tells.

    Args:
        names: of the classes, in the order of their numbers.
        dataset: what the network is known to be trained on, if anything.

    Returns:
        The numbers; None if the dataset is not in `DATASETS` and no dataset has classes of just these names.
    """
    for known in DATASETS:
        classes = dataset_classes(known)
        if len(classes) == len(names) and (known == dataset or [entry.name for entry in classes] == list(names)):
            return frozenset(number for number, entry in enumerate(classes) if entry.thing)
    return None


def find_dataset(names: Collection[str]) -> tuple[DatasetClass, ...] | None:
    """Return the classes of the dataset whose names are just these, in any order and whatever their capitals.

    Args:
        names: of classes, casefolded.

    Returns:
        The classes; None if no dataset has just these.
    """
    wanted = set(names)
    for known in DATASETS:
        if {entry.name.strip().casefold() for entry in dataset_classes(known)} == wanted:
            return dataset_classes(known)
    return None


@lru_cache
def _lists() -> Mapping[str, tuple[DatasetClass, ...]]:
    raw = json.loads((files("lucid_mlx") / "datasets.json").read_text(encoding="utf-8"))
    return {
        name: tuple(DatasetClass(label, bool(thing), tuple(color)) for label, thing, color in rows)
        for name, rows in raw.items()
    }

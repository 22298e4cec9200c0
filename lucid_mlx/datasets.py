"""The classes of the datasets that published models were trained on, as the original project registers them."""

import json
from collections.abc import Mapping
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


@dataclass(frozen=True)
class DatasetClass:
    """A class of a dataset.

    Attributes:
        name: what the dataset calls it.
        thing: whether it has countable instances; stuff, such as sky, has none.
        colour: red, green and blue of the dataset's own palette, 0 to 255.
    """

    name: str
    thing: bool
    colour: tuple[int, int, int]


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


@lru_cache
def _lists() -> Mapping[str, tuple[DatasetClass, ...]]:
    raw = json.loads((files("lucid_mlx") / "datasets.json").read_text(encoding="utf-8"))
    return {
        name: tuple(DatasetClass(label, bool(thing), tuple(colour)) for label, thing, colour in rows)
        for name, rows in raw.items()
    }

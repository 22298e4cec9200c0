"""Datasets of Hugging Face's library `datasets`: a column with images, and one with label maps."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lucid_mlx.data.coco import open_label_image
from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.label_maps import target_of_labels
from lucid_mlx.data.label_values import IGNORE_INDEX, labels_of_image
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.text import examples, shown

PREFIX = "hf://"  # before the name of a dataset on the hub
SAVED = "state.json"  # which `save_to_disk` writes beside `dataset_info.json`


@dataclass(frozen=True)
class RowRecord:
    """A row with an image and a label map.

    Attributes:
        rows: the `datasets.Dataset`, with images as they are stored.
        index: the row.
        columns: of the image, and of the label map.
        classes: the class of each label, -1 for those that are ignored.
        source: what messages call the dataset.
    """

    rows: Any
    index: int
    columns: tuple[str, str]
    classes: Mapping[int, int]
    source: str

    @property
    def name(self) -> str:
        """The dataset and the number of the row."""
        return f"{self.source}, row {self.index}"

    def _stored(self, column: str) -> Any:
        cell = self.rows[self.index][column]
        data = cell and (cell.get("bytes") or cell.get("path"))
        if not data:
            raise InputError(f"{self.name} has nothing in the column {shown(column)}")
        return data

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8, RGB."""
        return read_image(self._stored(self.columns[0]))

    def target(self) -> Target:
        """Read the label map.

        Returns:
            A mask for each class in the image.

        Raises:
            InputError: if there is none, it is no label map, or has an unknown label.
        """
        place = Path(f"{self.name}, {self.columns[1]}")
        data = self._stored(self.columns[1])
        image = open_label_image(io.BytesIO(data) if isinstance(data, bytes) else Path(data), str(place))
        return target_of_labels(labels_of_image(image, place)[0], self.classes, place)


def is_hugging_face(images: Any) -> bool:
    """Return whether images are a dataset of that library: an address such as hf://user/name, or a saved folder.

    Args:
        images: what a user gave as images.

    Returns:
        Whether they are.
    """
    if isinstance(images, str) and images.startswith(PREFIX):
        return True
    try:
        return (Path(images).expanduser() / SAVED).is_file()
    except (TypeError, ValueError, OSError, RuntimeError):
        return False


def hugging_face_dataset(
    source: Any,
    label_column: str,
    class_names: Sequence[str],
    *,
    ignore_index: int | None = None,
    reduce_zero_label: bool = False,
) -> Dataset:
    """Open a dataset of Hugging Face's library for semantic segmentation.

    Args:
        source: a `datasets.Dataset`; a folder that its `save_to_disk` has written; or `hf://user/name`, a dataset on
            the hub, with `:` and the name of a split behind it, "train" if there is none.
        label_column: the column with label maps. The images are in the first other column of images.
        class_names: the name of each class, by its label.
        ignore_index: the label of pixels that are ignored; None for 255.
        reduce_zero_label: also ignore label 0, and subtract 1 from the other labels.

    Returns:
        The dataset. It has no thing classes.

    Raises:
        InputError: if the library is missing, the dataset cannot be read, or it has no such columns.
    """
    require("datasets", "datasets")
    import datasets

    rows = _load(source) if isinstance(source, str | Path) else source
    name = str(source) if isinstance(source, str | Path) else "the dataset"
    if not isinstance(rows, datasets.Dataset):
        raise InputError(f"{name} is a {type(rows).__name__}; expected a datasets.Dataset, which is one split")
    pictures = [column for column, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if label_column not in pictures or len(pictures) < 2:
        raise InputError(
            f"{name} needs a column of images and a column of label maps called {shown(label_column)}; its columns of "
            f"pictures are {examples(pictures, 20) or 'none'}"
        )
    columns = (next(column for column in pictures if column != label_column), label_column)
    for column in columns:
        rows = rows.cast_column(column, datasets.Image(decode=False))
    first = int(reduce_zero_label)
    classes = {label: index for index, label in enumerate(range(first, first + len(class_names)))}
    classes |= {IGNORE_INDEX if ignore_index is None else ignore_index: -1} | ({0: -1} if reduce_zero_label else {})
    rows = rows.select_columns(list(columns))
    records = [RowRecord(rows, index, columns, classes, name) for index in range(len(rows))]
    return Dataset("semantic", tuple(class_names), frozenset(), records)


def _load(source: str | Path) -> Any:
    import datasets

    try:
        if isinstance(source, str) and source.startswith(PREFIX):
            name, _, split = source.removeprefix(PREFIX).partition(":")
            return datasets.load_dataset(name, split=split or "train")
        return datasets.load_from_disk(str(Path(source).expanduser()))
    except Exception as error:  # the library raises nearly everything
        raise InputError(f"{shown(str(source), 200)} cannot be opened as a dataset of Hugging Face: {error}") from error

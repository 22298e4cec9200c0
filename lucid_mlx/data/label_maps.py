"""Semantic segmentation datasets: a folder of images and a folder of label maps, whose pixel values are classes."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from lucid_mlx.data.coco import open_label_image
from lucid_mlx.data.coco_masks import masks_problem
from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value

IGNORE_INDEX = 255


@dataclass(frozen=True)
class LabelMapRecord:
    """An image and its label map.

    Attributes:
        path: the image file.
        label_map: the file of the label map.
        num_classes: how many classes the dataset has.
        ignore_index: as `label_map_dataset` takes it.
        reduce_zero_label: as `label_map_dataset` takes it.
    """

    path: Path
    label_map: Path
    num_classes: int
    ignore_index: int
    reduce_zero_label: bool

    @property
    def name(self) -> str:
        """The path of the image."""
        return str(self.path)

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8, RGB."""
        return read_image(self.path)

    def target(self) -> Target:
        """Read the label map.

        Returns:
            A mask for each class in the image.

        Raises:
            InputError: if the label map cannot be read, is neither grayscale nor a palette image, or has an unknown
                label.
        """
        image = open_label_image(self.label_map)
        if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
            raise InputError(f"{self.label_map} has mode {image.mode}; expected a grayscale or palette image")
        labels = np.asarray(image).astype(np.int32)
        first = 1 if self.reduce_zero_label else 0
        present = np.unique(labels)
        present = present[(present != self.ignore_index) & (present >= first)]
        if present.size and present[-1] - first >= self.num_classes:
            row, column = np.argwhere(labels == present[-1])[0]
            raise InputError(
                f"{self.label_map} has the label {present[-1]} at x={column}, y={row}; expected {first} to "
                f"{self.num_classes - 1 + first}, or {self.ignore_index} for pixels to ignore"
            )
        if problem := masks_problem(len(present), labels.shape):
            raise InputError(f"{self.label_map} {problem}")
        masks = labels == present[:, None, None]
        areas = np.count_nonzero(masks, axis=(1, 2)).astype(np.float64)
        return Target(masks, present - first, np.zeros(len(present), bool), areas, present.astype(object))


def label_map_dataset(
    images: str | PathLike[str],
    label_maps: str | PathLike[str],
    class_names: Sequence[str],
    *,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool = False,
    suffixes: tuple[str, str] | None = None,
) -> Dataset:
    """Open a dataset for semantic segmentation, such as the folders of ADE20K or Cityscapes.

    Args:
        images: the folder with the images; its subfolders are searched too.
        label_maps: the folder with the label maps, which have the names of the images up to the suffix.
        class_names: the name of each class, by its label.
        ignore_index: the label of pixels that are ignored.
        reduce_zero_label: also ignore label 0, and subtract 1 from the other labels, as for ADE20K.
        suffixes: how the names of images and of label maps end, such as `("_leftImg8bit.png",
            "_gtFine_labelTrainIds.png")`. None for any image format, and `.png` for label maps.

    Returns:
        The dataset. It has no thing classes.

    Raises:
        InputError: if a folder is missing or has no images, or label maps are missing.
    """
    image_folder, label_folder = local_path(images, "images"), local_path(label_maps, "label_maps")
    check_value("class_names", class_names, Sequence[str])
    check_value("ignore_index", ignore_index, int, -1, 65535)
    check_value("reduce_zero_label", reduce_zero_label, bool)
    check_value("suffixes", suffixes, tuple[str, str] | None)
    for folder, content in ((image_folder, "images"), (label_folder, "label maps")):
        if not folder.is_dir():
            raise InputError(f"the folder {folder} does not exist; expected the {content}")
    if image_folder.resolve() == Path(image_folder.resolve().anchor):
        raise InputError(f"{image_folder} is the whole disk; expected the folder with the images")
    if duplicates := sorted(name for name, count in Counter(class_names).items() if count > 1):
        raise InputError(f"several classes are called {shown(duplicates[0])}")
    problems = Problems(str(label_folder))
    records = []
    endings = {ending for ending, format in Image.registered_extensions().items() if format in Image.OPEN}
    for path in sorted(
        Path(folder) / name
        for folder, _, names in os.walk(image_folder)
        for name in names
        if os.path.splitext(name)[1].lower() in endings and not name.startswith(".")  # noqa: PTH122  # of all files
    ):
        if not path.name.endswith(suffixes[0] if suffixes else "") or not path.is_file():
            continue
        relative = path.relative_to(image_folder)
        stem = relative.name.removesuffix(suffixes[0]) if suffixes else relative.stem
        label_map = label_folder / relative.with_name(stem + (suffixes[1] if suffixes else ".png"))
        if not label_map.is_file():
            problems.add(f"{path} has no label map: {label_map} does not exist")
        records.append(LabelMapRecord(path, label_map, len(class_names), ignore_index, reduce_zero_label))
    if not records:
        raise InputError(f"the folder {image_folder} has no images" + (f" called *{suffixes[0]}" if suffixes else ""))
    problems.raise_if_any()
    return Dataset("semantic", tuple(class_names), frozenset(), records)

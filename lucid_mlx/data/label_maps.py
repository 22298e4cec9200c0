"""Semantic segmentation datasets: a folder of images and a folder of label maps, whose pixel values are classes."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from lucid_mlx.data.class_names import ClassNames
from lucid_mlx.data.color_table import Color
from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.label_files import find_pairs
from lucid_mlx.data.label_values import label_meaning, merged_classes, read_labels, unknown_label
from lucid_mlx.data.masks import LabelMasks, count_labels
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import PhotoHeader, Size, label_turns, read_header, turn_labels
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_values


@dataclass(frozen=True)
class LabelMapRecord:
    """An image and its label map.

    Attributes:
        path: the image file.
        label_map: the file of the label map.
        classes: the class of each label, -1 for those that are ignored.
        size: (height, width) of the image; None if its header cannot be read.
        exif: the EXIF orientation that turns the label map upright, as the image is.
        colors: the color of each class, if the label map is a picture of these.
    """

    path: Path
    label_map: Path
    classes: Mapping[int, int]
    size: Size | None = None
    exif: int = 1
    colors: Mapping[str, Color] | None = None

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
            InputError: if the label map cannot be read, holds colors instead of labels, has an unknown label, or is not
                of the size of the image.
        """
        labels = turn_labels(read_labels(self.label_map, self.colors), self.exif)
        if self.size is not None and labels.shape != self.size:
            sizes = [f"{width}x{height}" for height, width in (self.size, labels.shape)]
            raise InputError(f"{self.name}: the image is {sizes[0]} pixels, its labels are for {sizes[1]}")
        return target_of_labels(labels, self.classes, self.label_map)


def target_of_labels(labels: np.ndarray, classes: Mapping[int, int], path: Path) -> Target:
    """Return the classes of a label map.

    Args:
        labels: (H, W), integers.
        classes: the class of each label, -1 for those that are ignored.
        path: the file, for the message.

    Returns:
        A mask for each class.

    Raises:
        InputError: if a label is unknown.
    """
    counts = count_labels(labels)
    if unknown := [value for value in counts if value not in classes]:
        raise InputError(unknown_label(path, labels, unknown[-1], classes))
    found = np.array([classes[value] for value in counts], np.int32)
    values, areas = np.array(list(counts)), np.array(list(counts.values()), np.float64)
    class_ids, first = np.unique(found, return_index=True)
    class_ids, first = class_ids[class_ids >= 0], first[class_ids >= 0]
    return Target(
        LabelMasks(found[np.searchsorted(values, labels)], class_ids),
        class_ids,
        np.zeros(len(class_ids), bool),
        np.array([areas[found == class_id].sum() for class_id in class_ids], np.float64),
        values[first].astype(object),
    )


def label_map_dataset(
    images: str | PathLike[str],
    label_maps: str | PathLike[str],
    class_names: ClassNames,
    *,
    merge: Mapping[str, Sequence[str]] | None = None,
    ignore_index: int | None = None,
    reduce_zero_label: bool = False,
    endings: Sequence[str] | None = None,
    split: Collection[str] | None = None,
    skip_unlabeled: bool = False,
    orientation: str = "auto",
) -> Dataset:
    """Open a dataset for semantic segmentation, such as the folders of ADE20K, Cityscapes or VOC.

    Label maps are PNG, TIFF, BMP or GIF, with class numbers in one channel or as a palette. What is guessed or left out
    is told in a warning.

    Args:
        images: the folder with the images; its subfolders are searched too.
        label_maps: the folder with the label maps, in subfolders of the same names; it may be that of the images.
        class_names: the name of each class, by its label; for label maps in colors, the color of each name.
        merge: the new classes, each with the names of those that it is made of; the others are ignored. None to keep
            the classes.
        ignore_index: the label of pixels that are ignored. None for 255, or for 65535 if 255 is a class; but masks of 0
            and 255 alone, with two class names, have 255 for the second class.
        reduce_zero_label: also ignore label 0, and subtract 1 from the other labels, as for ADE20K.
        endings: how the names of images and of label maps end, such as `("_leftImg8bit.png",
            "_gtFine_labelTrainIds.png")`. None to find that out.
        split: the names of the images to use; None for all.
        skip_unlabeled: leave out images that have no label map.
        orientation: which pixels the label maps of photos are for that EXIF rotates: "stored", "upright", or "auto" to
            compare sizes.

    Returns:
        The dataset. It has no thing classes.

    Raises:
        InputError: if a folder is missing or has no images, label maps are missing, or they hold nothing to learn.
    """
    image_folder, label_folder = local_path(images, "images"), local_path(label_maps, "label_maps")
    check_values(
        ("class_names", class_names, Sequence[str] | Mapping),
        ("merge", merge, Mapping | None),
        ("ignore_index", ignore_index, int | None, -1, 65535),
        ("reduce_zero_label", reduce_zero_label, bool),
        ("endings", endings, Sequence[str] | None),
        ("skip_unlabeled", skip_unlabeled, bool),
    )
    if endings is not None and len(endings) != 2:
        raise InputError(f"endings must be two, of images and of label maps, got {shown(endings)}")
    for folder, content in ((image_folder, "images"), (label_folder, "label maps")):
        if not folder.is_dir():
            raise InputError(f"the folder {folder} does not exist; expected the {content}")
        if folder.resolve() == Path(folder.resolve().anchor):
            raise InputError(f"{folder} is the whole disk; expected the folder with the {content}")
    names = tuple(class_names)
    if duplicates := sorted(name for name, count in Counter(names).items() if count > 1):
        raise InputError(f"several classes are called {shown(duplicates[0])}")
    colors = class_names if isinstance(class_names, Mapping) else None
    if colors and reduce_zero_label:
        raise InputError("`reduce_zero_label` cannot be used with colors: they have no label 0; leave that out")
    pairs = find_pairs(image_folder, label_folder, endings=endings, split=split, skip_unlabeled=skip_unlabeled)
    classes = label_meaning([label for _, label in pairs], names, ignore_index, reduce_zero_label, colors)
    if merge is not None:
        names, classes = merged_classes(names, classes, merge)
    headers = [read_header(path) for path, _ in pairs]
    photos = [
        (str(path), header or PhotoHeader((1, 1), 1), _label_size(label) if header and header.exif != 1 else None)
        for (path, label), header in zip(pairs, headers, strict=True)
    ]
    notices = Notices(str(image_folder))
    exifs = label_turns(photos, orientation, notices)
    notices.warn()
    records = [
        LabelMapRecord(path, label, classes, header and header.upright_size, exif, colors)
        for (path, label), header, exif in zip(pairs, headers, exifs, strict=True)
    ]
    return Dataset("semantic", names, frozenset(), records)


def _label_size(path: Path) -> Size | None:
    header = read_header(path)
    return header and header.size

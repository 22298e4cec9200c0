"""Open a labeled dataset in any of the supported formats."""

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from lucid_mlx.data.class_names import ClassNames, read_class_names, read_merge
from lucid_mlx.data.coco import coco_dataset
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.hugging_face import hugging_face_dataset, is_hugging_face
from lucid_mlx.data.label_maps import label_map_dataset
from lucid_mlx.data.label_tools import open_tool_labels
from lucid_mlx.data.split import read_split
from lucid_mlx.data.stuff import with_stuff
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value

PathOrName = str | PathLike[str]
NAMES_FILES = ("_classes.csv", "labelmap.txt", "class_dict.csv", "label_colors.txt", "names.txt", "classes.txt")


def open_dataset(
    images: PathOrName,
    annotations: PathOrName,
    *,
    panoptic_folder: PathOrName | None = None,
    class_names: PathOrName | ClassNames | None = None,
    merge: PathOrName | Mapping[str, Sequence[str]] | None = None,
    ignore_index: int | None = None,
    reduce_zero_label: bool = False,
    endings: Sequence[str] | None = None,
    split: PathOrName | Collection[str] | None = None,
    skip_unlabeled: bool = False,
    crowd_as_objects: bool = False,
    stuff: Sequence[str] = (),
    orientation: str = "auto",
) -> Dataset:
    """Open labeled images: COCO's JSON, of instances or panoptic, label maps, or what labelme and other tools write.

    What is guessed or left out is told in a warning.

    Args:
        images: the folder with the images; or a dataset of Hugging Face: hf://user/name:split, or a folder that
            `save_to_disk` has written. Then `annotations` is its column of label maps.
        annotations: COCO's JSON file; the folder with the label maps, which may be that of the images; the folder with
            the JSON files of labelme or Supervisely; or Label Studio's JSON.
        panoptic_folder: the folder with the PNGs of a panoptic JSON. None for the folder that is called as the file
            without `.json`.
        class_names: the names of the classes of label maps, by label: a sequence, a text file with one name in each
            line, a JSON file, or a dataset that `lucid_mlx.datasets` knows, such as "ade20k_semantic"; for label maps
            in colors, a mapping of names to colors, or a table such as CVAT's labelmap.txt. For labelme, Label Studio
            and Supervisely the classes to use, in their order; None for all. COCO's JSON has its own.
        merge: for label maps, the new classes, each with the names of those that it is made of, or a JSON file of that;
            classes in none are ignored. None to keep the classes.
        ignore_index: for label maps, the label of pixels that are ignored; None for 255, where it is not a class.
        reduce_zero_label: for label maps, also ignore label 0, and subtract 1 from the other labels, as for ADE20K.
        endings: for label maps, how the names of images and of label maps end, such as `(".jpg", "_mask.png")`; None
            to find that out.
        split: the images to use: a text file with the name of one in each line, with or without its folder and ending,
            or a collection of the names; None for all.
        skip_unlabeled: leave out images without a label map, or without an annotation.
        crowd_as_objects: for COCO's JSON, take annotations with `iscrowd: 1` as objects.
        stuff: for labels of objects, the names of the classes that have no countable objects, such as "sky". With them
            the dataset is panoptic, or semantic if all classes are stuff: stuff is drawn first, then things, in the
            order of the file, and a pixel has the last one.
        orientation: which pixels the labels of photos are for that EXIF rotates: "stored", "upright", or "auto" to
            compare sizes.

    Returns:
        The dataset.

    Raises:
        InputError: if something is missing, unreadable or contradictory; or class names are given for COCO's JSON.
    """
    for name, value in (("skip_unlabeled", skip_unlabeled), ("crowd_as_objects", crowd_as_objects)):
        check_value(name, value, bool)
    if is_hugging_face(images):
        _check_unused(
            "a dataset of Hugging Face", panoptic_folder=panoptic_folder, merge=merge, endings=endings, split=split,
            skip_unlabeled=skip_unlabeled, crowd_as_objects=crowd_as_objects, stuff=stuff or None,
        )  # fmt: skip
        if class_names is None:
            raise InputError("a dataset of Hugging Face needs class names (`names`; in Python `class_names`)")
        return hugging_face_dataset(
            images,
            Path(annotations).name,  # a resumed run may have made a path of it
            list(read_class_names(class_names)),
            ignore_index=ignore_index,
            reduce_zero_label=reduce_zero_label,
        )
    image_folder, labels = find_path(images, "images"), find_path(annotations, "annotations")
    names = read_split(find_path(split, "split")) if isinstance(split, str | PathLike) else split
    if isinstance(stuff, str) or not all(isinstance(name, str) for name in stuff):
        raise InputError(f"stuff must be a list of names of classes, got {shown(stuff)}")
    classes = None if class_names is None else read_class_names(class_names)
    tool = open_tool_labels(image_folder, labels, None if classes is None else list(classes), names, orientation)
    if tool is not None:
        _check_unused(
            "labels of these tools", panoptic_folder=panoptic_folder, merge=merge, ignore_index=ignore_index,
            reduce_zero_label=reduce_zero_label, endings=endings, crowd_as_objects=crowd_as_objects,
        )  # fmt: skip
        tool = _without_unlabeled(tool) if skip_unlabeled else tool
        return with_stuff(tool, stuff) if stuff else tool
    if not labels.is_dir():
        if not labels.exists() and labels.suffix != ".json":
            raise InputError(f"{labels} does not exist; expected COCO's JSON file, or the folder with the label maps")
        if class_names is not None:
            raise InputError(f"{labels} has its own class names; give class names only for a folder of label maps")
        _check_unused(
            "COCO's JSON", merge=merge, ignore_index=ignore_index, reduce_zero_label=reduce_zero_label, endings=endings
        )
        folder = None if panoptic_folder is None else find_path(panoptic_folder, "panoptic_folder")
        dataset = coco_dataset(
            image_folder, labels, folder, split=names, crowd_as_objects=crowd_as_objects, orientation=orientation
        )
        dataset = _without_unlabeled(dataset) if skip_unlabeled else dataset
        return with_stuff(dataset, stuff) if stuff else dataset
    _check_unused(
        "a folder of label maps",
        panoptic_folder=panoptic_folder,
        crowd_as_objects=crowd_as_objects,
        stuff=stuff or None,
    )
    if classes is None:
        files = sorted(labels.glob("*.json"))
        photos = {name for path in image_folder.glob("*") for name in (path.stem, path.name) if path.suffix != ".json"}
        if files and all(path.stem in photos for path in files):
            raise InputError(
                f"the JSON files in {labels} are of one image each, but hold neither labelme's shapes nor "
                "Supervisely's objects; expected those, or COCO's JSON, one file for all; or, if there are label maps "
                "too, their class names (`names`; in Python `class_names`)"
            )
        hint = f"; or {files[0]}, if that is COCO's JSON" if files else ""
        near = (folder / name for folder in (labels, labels.parent) for name in NAMES_FILES)
        hint = next((f": {path} may have them" for path in near if path.is_file()), hint)
        raise InputError(
            f"{labels} is a folder of label maps; give class names (`names`; in Python `class_names`), such as a text "
            f"file with one in each line{hint}"
        )
    return label_map_dataset(
        image_folder,
        labels,
        classes,
        merge=read_merge(merge) if isinstance(merge, str | PathLike) else merge,
        ignore_index=ignore_index,
        reduce_zero_label=reduce_zero_label,
        endings=endings,
        split=names,
        skip_unlabeled=skip_unlabeled,
        orientation=orientation,
    )


def find_path(path: PathOrName, name: str) -> Path:
    r"""Return a path with "~" expanded; backslashes, as Windows has them, stand for slashes if nothing is there else.

    Args:
        path: what a user gave as a path.
        name: of the argument, for the message.

    Returns:
        The path; nothing need be there.

    Raises:
        InputError: if no file can have that name, or it holds what TOML makes of a backslash and a letter.
    """
    if isinstance(path, str) and "\\" in path and not os.path.lexists(path):
        slashes = local_path(path.replace("\\", "/"), name)
        if slashes.exists():
            return slashes
    found = local_path(path, name)
    text = str(found)
    if any(character in text for character in "\b\t\n\f\r") and not found.exists():
        raise InputError(f"{name} is {text!r}, where a backslash was read as TOML does; write the path with /")
    return found


def _without_unlabeled(dataset: Dataset) -> Dataset:
    records = [record for record in dataset.records if getattr(record, "annotations", True)]
    if left_out := len(dataset.records) - len(records):
        warnings.warn(
            f"{left_out} of {len(dataset.records)} images have no annotation; they are left out", stacklevel=3
        )
    return replace(dataset, records=records)


def _check_unused(what: str, **settings: Any) -> None:
    unused = [f"`{name}`" for name, value in settings.items() if value is not None and value is not False]
    if unused:
        raise InputError(f"{' and '.join(unused)} cannot be used with {what}; leave that out")

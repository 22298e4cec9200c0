"""Photos with objects that carry the name of a class, as the tools of labeling save them, made a dataset."""

import base64
import binascii
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from lucid_mlx.data.coco import InstancesRecord
from lucid_mlx.data.coco_annotations import AnnotationReader, read_instances
from lucid_mlx.data.coco_images import CocoImage, path_in, read_images
from lucid_mlx.data.coco_values import Id
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import Size
from lucid_mlx.data.split import select
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.files import is_file, read_json
from lucid_mlx.utils.open_image import is_picture

MAX_LABEL_BYTES = 512 << 20  # of a JSON file of one photo, which may hold the photo


class LabeledObject(NamedTuple):
    """An object of a photo.

    Attributes:
        id: what messages call it.
        label: the name of its class.
        segmentation: polygons or RLE, as COCO has them.
    """

    id: str
    label: str
    segmentation: Any


class LabeledPhoto(NamedTuple):
    """A photo and its objects.

    Attributes:
        name: of the photo's file, within the folder with the images if it is known to be there.
        size: (height, width) of the pixels for which the labels are; None if that is not known.
        objects: those that can be learned.
        embedded: the JSON file that holds the photo as well, used if the photo is missing.
    """

    name: str
    size: Size | None
    objects: Sequence[LabeledObject]
    embedded: Path | None = None


@dataclass(frozen=True)
class EmbeddedRecord(InstancesRecord):
    """A photo that labelme keeps within the labels, as `imageData`; `path` is the JSON file."""

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8, RGB."""
        data = read_json(self.path, "labels of labelme", MAX_LABEL_BYTES).get("imageData")
        try:
            return read_image(base64.b64decode(str(data)))
        except (InputError, binascii.Error) as error:
            raise InputError(f"{self.path}: its imageData is no image: {error}") from None


def dataset_of_photos(
    photos: Sequence[LabeledPhoto],
    folder: Path,
    labels: Path,
    class_names: Sequence[str] | None,
    *,
    split: Collection[str] | None,
    orientation: str,
    problems: Problems,
    notices: Notices,
) -> Dataset:
    """Make a dataset of labeled photos.

    Args:
        photos: the photos.
        folder: the folder with the images.
        labels: the file or the folder with the labels.
        class_names: the classes to use, in their order; None for all labels that occur, by name.
        split: the names of the images to use; None for all.
        orientation: "stored", "upright" or "auto", as `coco_dataset` takes it.
        problems: where to add what contradicts itself.
        notices: where to tell what is left out or guessed.

    Returns:
        The dataset, for instance segmentation.

    Raises:
        InputError: if nothing can be learned, or something contradicts itself.
    """
    if split is not None and photos:
        chosen = select([photo.name for photo in photos], split)
        photos = [photo for photo, is_chosen in zip(photos, chosen, strict=True) if is_chosen]
    names, number = _classes([x.label for photo in photos for x in photo.objects], class_names, notices)
    in_files = {}
    has_embedded = any(photo.embedded is not None for photo in photos)
    there = {path.name.casefold() for path in folder.rglob("*")} if has_embedded else set()
    images: dict[Id, CocoImage] = {}
    for index, photo in enumerate(photos):
        if photo.embedded is not None and photo.size is not None and not _is_there(folder, photo.name, there):
            notices.add("photo", "read from imageData in the labels, as its file is missing", photo.name)
            images[index] = CocoImage(photo.embedded, photo.size)
        else:
            height, width = photo.size or (None, None)
            in_files[index] = {"id": index, "file_name": photo.name, "height": height, "width": width}
    found, left_out = read_images(list(in_files.values()), folder, labels, None, orientation, problems, notices)
    images = dict(sorted((images | found).items()))
    entries = [
        {"id": x.id, "image_id": index, "category_id": number.get(x.label), "segmentation": x.segmentation}
        for index, photo in enumerate(photos)
        for x in photo.objects
        if x.label in number
    ]
    reader = AnnotationReader({index: index for index in range(len(names))}, False, problems, notices)
    objects = read_instances(entries, images, left_out, reader)
    problems.raise_if_any()
    if not reader.read:
        raise InputError(f"{labels}: none of its objects can be used", *notices.lines())
    if split is None:
        _tell_unlabeled(folder, [image.path for image in images.values()], notices)
    notices.warn()
    records = []
    for id_, image in images.items():
        kind = EmbeddedRecord if image.path == photos[int(id_)].embedded else InstancesRecord
        records.append(kind(*image, tuple(objects[id_])))
    return Dataset("instance", names, frozenset(range(len(names))), records)


def name_in(folder: Path, candidates: Iterable[Path], name: str) -> str:
    """Return the name of a photo within a folder.

    Args:
        folder: the folder with the images.
        candidates: where the file may be.
        name: as the labels have it, which may be a path of another machine.

    Returns:
        The path of the first candidate that exists in the folder; or else the name, without what leads out of the
        folder, to be searched.
    """
    root = Path(os.path.abspath(folder))  # noqa: PTH100  # links stay
    for candidate in candidates:
        path = Path(os.path.abspath(candidate))  # noqa: PTH100
        if path.is_relative_to(root) and is_file(path):
            return path.relative_to(root).as_posix()
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return "/".join(part for part in parts if part != "..") if ".." in parts else name


def _is_there(folder: Path, name: str, there: Collection[str]) -> bool:
    """Return whether a photo is in a folder, or may be found in it by the last part of its path."""
    path = path_in(folder, name)
    return (path is not None and is_file(path)) or PurePosixPath(name.replace("\\", "/")).name.casefold() in there


def _classes(
    labels: Sequence[str], class_names: Sequence[str] | None, notices: Notices
) -> tuple[tuple[str, ...], Mapping[str, int]]:
    """Return the classes, and the class of each label; labels that differ by case or spaces alone are one class."""
    counts = Counter(labels)
    spelling: dict[str, str] = {}
    for name in class_names if class_names is not None else sorted(counts, key=lambda x: (-counts[x], x)):
        spelling.setdefault(_plain(name), name.strip() if class_names is None else name)
    names = tuple(class_names) if class_names is not None else tuple(sorted(spelling.values()))
    numbers = {}
    for label in sorted(counts):
        known = label if label in names else spelling.get(_plain(label))
        for _ in range(counts[label]):
            if known is None:
                notices.add("object", "left out: of a class that the names do not have", label)
            elif known != label.strip():
                notices.add("object", "taken for one of a class that is written otherwise", f"{label} is {known}")
        if known is not None:
            numbers[label] = names.index(known)
    return names, numbers


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()


def _tell_unlabeled(folder: Path, used: Sequence[Path], notices: Notices) -> None:
    """Tell of photos beside those used that have no labels, which may have been forgotten."""
    files = set(used)
    for place in sorted({path.parent for path in used if is_picture(path)}):
        for path in sorted(place.iterdir()):
            if path not in files and is_picture(path) and not path.name.startswith("."):
                notices.add("photo", "not used, as it has no labels", os.path.relpath(path, folder))

"""COCO's annotation files: instances as polygons or RLE, panoptic segments as PNGs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from lucid_mlx.data.coco_annotations import Annotation, AnnotationReader, read_instances, read_segments
from lucid_mlx.data.coco_categories import read_categories
from lucid_mlx.data.coco_images import read_images
from lucid_mlx.data.coco_masks import encode
from lucid_mlx.data.coco_values import identifier
from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.masks import LabelMasks, RunMasks, count_labels
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import Size, turn_labels
from lucid_mlx.data.split import read_split
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.files import local_path, read_json
from lucid_mlx.utils.open_image import open_image
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value

EMPTY_SEGMENT = "without a pixel in the PNG"
UNKNOWN_SEGMENT = "in the PNG, but not listed in the file"


@dataclass(frozen=True)
class CocoRecord:
    """An image of a COCO file with its annotations.

    Attributes:
        path: the image file.
        size: (height, width) of the labels.
        exif: the EXIF orientation that turns the labels upright, as the image is.
        annotations: the objects or segments.
    """

    path: Path
    size: Size
    exif: int
    annotations: tuple[Annotation, ...]

    @property
    def name(self) -> str:
        """The path of the image."""
        return str(self.path)

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8, RGB."""
        return read_image(self.path)


@dataclass(frozen=True)
class InstancesRecord(CocoRecord):
    """An image with the objects of an instances file."""

    @property
    def has_objects(self) -> bool:
        """Whether there is an object to learn, that is no crowd."""
        return not all(annotation.crowd for annotation in self.annotations)

    def target(self) -> Target:
        """Return the objects; each is rasterized when its pixels are used."""
        runs = [encode(annotation.segmentation or [], self.size) for annotation in self.annotations]
        masks = RunMasks(runs, self.size, self.exif)
        return _target(masks, self.annotations, masks.counts())


@dataclass(frozen=True)
class PanopticRecord(CocoRecord):
    """An image with the segments of a panoptic file.

    Attributes:
        png: the file whose colors are segment ids.
    """

    png: Path

    def target(self) -> Target:
        """Read the PNG.

        Returns:
            A mask for each segment that has pixels. Those of other segments have no known class.

        Raises:
            InputError: if the PNG cannot be read, or its size differs from that of the image.
        """
        png = open_label_image(self.png)
        if png.mode not in ("RGB", "RGBA"):
            raise InputError(f"{self.png} has mode {png.mode}; expected RGB, with segment ids as colors")
        colors = np.asarray(png)
        if colors.shape[:2] != self.size:
            height, width = self.size
            raise InputError(f"{self.png} is {png.width}x{png.height} pixels, its image {width}x{height}")
        ids = colors[..., 2].astype(np.int32)
        for channel in (1, 0):
            ids *= 256
            ids += colors[..., channel]
        ids = turn_labels(ids, self.exif)
        found = count_labels(ids)
        listed = {int(annotation.id): annotation for annotation in self.annotations}
        kept = [id_ for id_ in listed if id_ in found]
        target = _target(
            LabelMasks(ids, kept), [listed[id_] for id_ in kept], np.array([found[id_] for id_ in kept], np.int64)
        )
        left_out = [(EMPTY_SEGMENT, id_) for id_ in listed if id_ not in found]
        left_out += [(UNKNOWN_SEGMENT, id_) for id_ in found if id_ != 0 and id_ not in listed]
        return target._replace(left_out=tuple(left_out), keeps_empty=True)


def coco_dataset(
    images: str | PathLike[str],
    annotations: str | PathLike[str],
    panoptic_folder: str | PathLike[str] | None = None,
    *,
    split: str | PathLike[str] | Iterable[str] | None = None,
    crowd_as_objects: bool = False,
    orientation: str = "auto",
) -> Dataset:
    """Open a dataset in COCO's format: instances, or panoptic segments.

    What cannot be learned is left out, and told in one warning for each kind: annotations that cover no pixel or are
    damaged, images without a file, categories that tools add and nothing uses.

    Args:
        images: the folder with the images.
        annotations: the JSON file. It is panoptic if its annotations have `segments_info`, and of instances if they
            have `segmentation` (polygons or RLE).
        panoptic_folder: the folder with the PNGs of a panoptic JSON, whose colors are segment ids. None for the folder
            that is called as the file without `.json`.
        split: use only these images: a text file with the name of one in each line, or the names; None for all.
        crowd_as_objects: take annotations with `iscrowd: 1` as objects, as tools write them that mean no crowd by it.
        orientation: which pixels the labels of photos are for that EXIF turns: "stored", "upright", or "auto" to
            compare sizes.

    Returns:
        The dataset. Its classes are the categories of the file, in the order of their ids. All classes of an instances
        file are things. Images without an annotation are left out of a panoptic dataset.

    Raises:
        InputError: if the file cannot be read or contradicts itself, or nothing can be learned from it; it lists the
            problems.
    """
    check_value("crowd_as_objects", crowd_as_objects, bool)
    if not isinstance(split, str | PathLike | Iterable | None):
        raise InputError(f"split must be a text file or the names of images, got {shown(split)}")
    file, folder = local_path(annotations, "annotations"), local_path(images, "images")
    raw = _read(file)
    names = split if split is None else read_split(split) if isinstance(split, str | PathLike) else frozenset(split)
    problems, notices = Problems(str(file)), Notices(str(file))
    photos, left_out = read_images(raw["images"], folder, file, names, orientation, problems, notices)
    entries = [entry for entry in raw["annotations"] if isinstance(entry, dict)]
    is_panoptic = panoptic_folder is not None or any("segments_info" in entry for entry in entries)
    segments = [x for entry in entries for x in _segments_of(entry)] if is_panoptic else entries
    used = {identifier(entry.get("category_id")) for entry in segments}
    classes = read_categories(raw["categories"], used, problems, notices)
    reader = AnnotationReader(classes.class_ids, crowd_as_objects, problems, notices)
    records: Sequence[InstancesRecord] | Sequence[PanopticRecord]
    if is_panoptic:
        pngs = file.with_suffix("") if panoptic_folder is None else local_path(panoptic_folder, "panoptic_folder")
        if (pngs / file.stem).is_dir():  # the folder around that of the PNGs
            pngs /= file.stem
        if not pngs.is_dir():
            raise InputError(
                f"the folder {pngs} with the PNGs of {annotations} does not exist; give it as the panoptic folder"
            )
        panoptic = read_segments(raw["annotations"], pngs, photos, left_out, reader)
        records = [PanopticRecord(*photos[id_], tuple(found), png) for id_, (png, found) in panoptic.items()]
    else:
        objects = read_instances(raw["annotations"], photos, left_out, reader)
        records = [InstancesRecord(*photos[id_], tuple(found)) for id_, found in objects.items()]
    problems.raise_if_any()
    if entries and not reader.read:
        boxes = any(entry.get("bbox") for entry in entries) and not any(entry.get("segmentation") for entry in entries)
        hint = ": it has boxes alone; this network learns outlines, so export polygons or masks" if boxes else ""
        raise InputError(
            f"{file}: none of its {len(raw['annotations'])} annotations can be used{hint}", *notices.lines()
        )
    reader.check_crowds(str(file))
    notices.warn()
    thing_ids = classes.thing_ids if is_panoptic else frozenset(range(len(classes.names)))
    return Dataset(
        "panoptic" if is_panoptic else "instance", classes.names, thing_ids, records, federated=_is_federated(raw)
    )


def _segments_of(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    segments = entry.get("segments_info")
    return [x for x in segments if isinstance(x, dict)] if isinstance(segments, list) else []


def _is_federated(raw: Mapping[str, Any]) -> bool:
    """Return whether a file is LVIS's, which lists the objects of some classes of each image only."""
    keys = {"neg_category_ids", "not_exhaustive_category_ids"}
    return any(isinstance(image, dict) and keys & image.keys() for image in raw["images"]) or any(
        isinstance(category, dict) and category.get("frequency") in ("r", "c", "f") for category in raw["categories"]
    )


def open_label_image(path: Path | BinaryIO, name: str | None = None) -> Image.Image:
    """Open and decode a label map or a panoptic PNG.

    Args:
        path: the file.
        name: what messages call it; None for its path.

    Returns:
        The image, as it is stored.

    Raises:
        InputError: if it is missing or damaged.
    """
    name = name or str(path)
    try:
        with open_image(path, name) as image:
            image.load()
            return image
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything when a file is damaged
        raise InputError(f"{name} is damaged, or not an image of labels: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    raw = read_json(path, "COCO annotations", max_bytes=None)
    for key in ("images", "annotations", "categories"):
        if not isinstance(raw.get(key), list):
            raise InputError(f"{path} has no list of {key}; expected COCO annotations, with the list of images")
    return raw


def _target(masks: RunMasks | LabelMasks, annotations: Sequence[Annotation], counts: np.ndarray) -> Target:
    areas = [count if x.area is None else x.area for x, count in zip(annotations, counts, strict=True)]
    return Target(
        masks,
        np.array([annotation.class_id for annotation in annotations], np.int32),
        np.array([annotation.crowd for annotation in annotations], bool),
        np.array(areas, np.float64),
        np.array([annotation.id for annotation in annotations], object),
    )

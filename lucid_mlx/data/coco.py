"""COCO's annotation files: instances as polygons or RLE, panoptic segments as PNGs."""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.files import read_json

Size = tuple[int, int]
Id = int | str  # ADE20K's panoptic annotations have strings as image ids
MAX_SEGMENT_ID = (1 << 24) - 1  # a color of a panoptic PNG has three bytes


class Annotation(NamedTuple):
    """An object of an instances file, or a segment of a panoptic file.

    Attributes:
        id: its id in the file.
        class_id: the index of its class.
        crowd: whether it covers several objects that were not separated (`iscrowd`).
        area: in pixels, as the file has it; None if it has none.
        segmentation: polygons or RLE; None for a segment, whose pixels are in a PNG.
    """

    id: int
    class_id: int
    crowd: bool
    area: float | None
    segmentation: Any = None


@dataclass(frozen=True)
class CocoRecord:
    """An image of a COCO file with its annotations.

    Attributes:
        path: the image file.
        size: (height, width).
        annotations: the objects or segments.
    """

    path: Path
    size: Size
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

    def target(self) -> Target:
        """Rasterize the objects.

        Returns:
            A mask for each object.

        Raises:
            InputError: if an RLE is damaged.
        """
        masks = np.zeros((len(self.annotations), *self.size), bool)
        for mask, annotation in zip(masks, self.annotations, strict=True):
            try:
                mask[:] = _decode(annotation.segmentation, self.size)
            except (ValueError, TypeError) as error:
                raise InputError(f"{self.name}: the RLE of annotation {annotation.id} is damaged: {error}") from None
        return _target(masks, self.annotations)


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
            A mask for each segment.

        Raises:
            InputError: if the PNG cannot be read, its size differs from that of the image, or it has segments that the
                JSON file does not list.
        """
        png = open_label_image(self.png)
        if png.mode not in ("RGB", "RGBA"):
            raise InputError(f"{self.png} has mode {png.mode}; expected RGB, with segment ids as colors")
        ids = np.asarray(png)[..., :3].astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        if ids.shape != self.size:
            height, width = self.size
            raise InputError(f"{self.png} is {ids.shape[1]}x{ids.shape[0]} pixels, its image {width}x{height}")
        listed = np.array([annotation.id for annotation in self.annotations], np.int32)
        unknown = np.setdiff1d(ids, [0, *listed])
        if unknown.size:
            raise InputError(f"{self.png} has segment {unknown[0]}, which its annotation does not list")
        return _target(ids == listed[:, None, None], self.annotations)


def coco_dataset(
    images: str | PathLike[str], annotations: str | PathLike[str], panoptic_folder: str | PathLike[str] | None = None
) -> Dataset:
    """Open a dataset in COCO's format: instances, or panoptic segments.

    Args:
        images: the folder with the images.
        annotations: the JSON file. It is panoptic if its annotations have `segments_info`, and of instances if they
            have `segmentation` (polygons or RLE).
        panoptic_folder: the folder with the PNGs of a panoptic JSON, whose colors are segment ids. None for the folder
            that is called as the file without `.json`.

    Returns:
        The dataset. Its classes are the categories of the file, in the order of their ids. All classes of an instances
        file are things. Images without an annotation are left out of a panoptic dataset.

    Raises:
        InputError: if the file cannot be read or contradicts itself, or files are missing; it lists the problems.
    """
    raw = _read(annotations)
    problems = Problems(str(annotations))
    image_files = _image_files(raw, Path(images), problems)
    class_names, thing_ids, class_ids = _categories(raw, problems)
    records: Sequence[CocoRecord]
    if panoptic_folder is not None or any("segments_info" in x for x in raw["annotations"] if isinstance(x, dict)):
        folder = Path(annotations).with_suffix("") if panoptic_folder is None else Path(panoptic_folder)
        if not folder.is_dir():
            raise InputError(
                f"the folder {folder} with the PNGs of {annotations} does not exist; give it as the panoptic folder"
            )
        task, records = "panoptic", _panoptic_records(raw, folder, image_files, class_ids, problems)
    else:
        task, thing_ids = "instance", frozenset(range(len(class_names)))
        records = _instances_records(raw, image_files, class_ids, problems)
    problems.raise_if_any()
    return Dataset(task, class_names, thing_ids, records)


def _instances_records(
    raw: Mapping[str, Any],
    image_files: Mapping[Id, tuple[Path, Size]],
    class_ids: Mapping[Id, int],
    problems: Problems,
) -> list[InstancesRecord]:
    """Return the images with their objects."""
    annotations: dict[Id, list[Annotation]] = {image_id: [] for image_id in image_files}
    seen: set[Id] = set()
    for index, entry in enumerate(raw["annotations"]):
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if not _is_id(id_):
            problems.add(f"annotation {index} of the list has no id")
        elif id_ in seen:
            problems.add(f"annotation {id_} appears twice")
        elif not _is_known(entry.get("image_id"), image_files):
            problems.add(f"annotation {id_} is of image {entry.get('image_id')!r}, which is not in the file")
        elif not _is_known(entry.get("category_id"), class_ids):
            problems.add(f"annotation {id_} is of category {entry.get('category_id')!r}, which is not in the file")
        elif problem := _segmentation_problem(entry.get("segmentation"), image_files[entry["image_id"]][1]):
            problems.add(f"annotation {id_} {problem}")
        else:
            seen.add(id_)
            annotations[entry["image_id"]].append(_annotation(entry, class_ids))
    return [InstancesRecord(*file, tuple(annotations[image_id])) for image_id, file in image_files.items()]


def _panoptic_records(
    raw: Mapping[str, Any],
    folder: Path,
    image_files: Mapping[Id, tuple[Path, Size]],
    class_ids: Mapping[Id, int],
    problems: Problems,
) -> list[PanopticRecord]:
    """Return the images with their segments."""
    records: dict[Id, PanopticRecord] = {}
    for index, entry in enumerate(raw["annotations"]):
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        name = f"the annotation of image {image_id}"
        if not _is_known(image_id, image_files):
            problems.add(f"annotation {index} of the list is of image {image_id!r}, which is not in the file")
        elif image_id in records:
            problems.add(f"{name} appears twice")
        elif not isinstance(entry.get("segments_info"), list) or not isinstance(entry.get("file_name"), str):
            problems.add(f"{name} has no segments_info or no file_name, which COCO's panoptic format needs")
        else:
            png = folder / entry["file_name"]
            if not png.is_file():
                problems.add(f"{name}: {png} does not exist")
            segments = _segments(entry["segments_info"], name, class_ids, problems)
            records[image_id] = PanopticRecord(*image_files[image_id], segments, png)
    return list(records.values())


def open_label_image(path: Path) -> Image.Image:
    """Open and decode a label map or a panoptic PNG.

    Args:
        path: the file.

    Returns:
        The image, as it is stored.

    Raises:
        InputError: if it is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected an image of labels") from None
    except Exception as error:  # Pillow's decoders raise nearly everything when a file is damaged
        raise InputError(f"{path} is damaged, or not an image of labels: {error}") from error


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    raw = read_json(Path(path), "COCO annotations", max_bytes=None)
    for key in ("images", "annotations", "categories"):
        if not isinstance(raw.get(key), list):
            raise InputError(f"{path} has no list of {key}; expected COCO annotations, with the list of images")
    return raw


def _image_files(raw: Mapping[str, Any], folder: Path, problems: Problems) -> dict[Id, tuple[Path, Size]]:
    """Return path and size of the images by id."""
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist; expected the images")
    files: dict[Id, tuple[Path, Size]] = {}
    for index, entry in enumerate(raw["images"]):
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if not _is_id(id_) or not isinstance(entry.get("file_name"), str):
            problems.add(f"image {index} of the list has no id or no file_name")
            continue
        height, width = entry.get("height"), entry.get("width")
        if id_ in files:
            problems.add(f"image {id_} appears twice")
        if not all(isinstance(side, int) and side > 0 for side in (height, width)):
            problems.add(f"image {id_} has no height or no width")
            height = width = 0
        path = folder / entry["file_name"]
        if not path.is_file():
            problems.add(f"image {id_}: {path} does not exist")
        files[id_] = (path, (height, width))
    return files


def _categories(raw: Mapping[str, Any], problems: Problems) -> tuple[tuple[str, ...], frozenset[int], dict[Id, int]]:
    """Return the names of the classes, the thing classes, and the class index of each category id."""
    categories: dict[int, tuple[str, bool]] = {}
    for index, entry in enumerate(raw["categories"]):
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(id_, int) or not isinstance(entry.get("name"), str):
            problems.add(f"category {index} of the list has no id or no name")
        elif id_ in categories:
            problems.add(f"category {id_} appears twice")
        else:
            categories[id_] = (entry["name"], bool(entry.get("isthing", 1)))
    names = tuple(categories[id_][0] for id_ in sorted(categories))
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(f"several categories are called {name!r}")
    class_ids: dict[Id, int] = {id_: index for index, id_ in enumerate(sorted(categories))}
    return names, frozenset(class_ids[id_] for id_ in categories if categories[id_][1]), class_ids


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, int | str)


def _is_known(value: object, ids: Container[Id]) -> TypeGuard[Id]:
    return _is_id(value) and value in ids


def _annotation(entry: Mapping[str, Any], class_ids: Mapping[Id, int]) -> Annotation:
    area = float(entry["area"]) if isinstance(entry.get("area"), int | float) else None
    crowd = bool(entry.get("iscrowd", 0))
    return Annotation(entry["id"], class_ids[entry["category_id"]], crowd, area, entry.get("segmentation"))


def _segmentation_problem(segmentation: Any, size: Size) -> str | None:
    """Return what is wrong with polygons or RLE; None if they are valid."""
    if isinstance(segmentation, dict):
        return _rle_problem(segmentation, size)
    if not isinstance(segmentation, list):
        return "has no segmentation: neither polygons nor RLE"
    if not segmentation:
        return "has an empty list of polygons"
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "has a polygon that is not a list of x, y, x, y, ... of at least three points"
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in polygon):
            return "has a polygon with a coordinate that is not a number"
    return None


def _rle_problem(rle: Mapping[str, Any], size: Size) -> str | None:
    counts = rle.get("counts")
    if rle.get("size") != list(size):
        return f"has an RLE for a height and width of {rle.get('size')}, its image has {list(size)}"
    if isinstance(counts, str):
        return None  # a compressed RLE is checked when it is decoded
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        return "has an RLE whose counts are not a list of numbers"
    if sum(counts) != size[0] * size[1]:
        return f"has an RLE of {sum(counts)} pixels, its image has {size[0] * size[1]}"
    return None


def _segments(
    entries: Sequence[Any], name: str, class_ids: Mapping[Id, int], problems: Problems
) -> tuple[Annotation, ...]:
    """Return the segments of an image."""
    segments: dict[int, Annotation] = {}
    for entry in entries:
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(id_, int) or not 0 < id_ <= MAX_SEGMENT_ID:
            problems.add(f"{name} has a segment with the id {id_!r}; expected 1 to {MAX_SEGMENT_ID}")
        elif id_ in segments:
            problems.add(f"{name} has segment {id_} twice")
        elif not _is_known(entry.get("category_id"), class_ids):
            category = entry.get("category_id")
            problems.add(f"{name} has segment {id_} of category {category!r}, which is not in the file")
        else:
            segments[id_] = _annotation(entry, class_ids)
    return tuple(segments.values())


def _decode(segmentation: Any, size: Size) -> np.ndarray:
    """Return polygons or RLE as a mask, (H, W) bool."""
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *size)
    return coco_mask.decode(segmentation).view(bool)


def _target(masks: np.ndarray, annotations: Sequence[Annotation]) -> Target:
    counts = np.count_nonzero(masks, axis=(1, 2))
    areas = [count if x.area is None else x.area for x, count in zip(annotations, counts, strict=True)]
    return Target(
        masks,
        np.array([annotation.class_id for annotation in annotations], np.int32),
        np.array([annotation.crowd for annotation in annotations], bool),
        np.array(areas, np.float64),
        np.array([annotation.id for annotation in annotations], object),
    )

"""COCO's files: instances as polygons and run lengths, panoptic segments as pictures."""

import json
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

Size = tuple[int, int]
Id = int | str
LARGEST_ID = (1 << 24) - 1  # of a panoptic segment: three bytes of color


class Part(NamedTuple):
    """An annotated object or segment.

    Attributes:
        id: its number in the file.
        class_id: its class.
        crowd: whether it has more objects than were told apart.
        area: in pixels, as the file has it; None if it does not.
        outline: polygons or run lengths; None if the pixels are in a picture.
    """

    id: int
    class_id: int
    crowd: bool
    area: float | None
    outline: Any = None


@dataclass(frozen=True)
class CocoRecord:
    """An image of COCO's files and its annotation; heights come before widths."""

    path: Path
    size: Size
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The image's path."""
        return str(self.path)

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8."""
        return read_image(self.path)


@dataclass(frozen=True)
class InstancesRecord(CocoRecord):
    """An image with outlined objects."""

    def target(self) -> Target:
        """Rasterise the objects.

        Raises:
            InputError: for run lengths that are damaged.
        """
        masks = np.zeros((len(self.parts), *self.size), bool)
        for mask, part in zip(masks, self.parts, strict=True):
            try:
                mask[:] = _rasterised(part.outline, self.size)
            except (ValueError, TypeError) as error:
                raise InputError(f"{self.name}: the run lengths of annotation {part.id} are damaged: {error}") from None
        return _target(masks, self.parts)


@dataclass(frozen=True)
class PanopticRecord(CocoRecord):
    """An image with a picture whose colors are segment numbers."""

    picture: Path

    def target(self) -> Target:
        """Read the picture.

        Raises:
            InputError: if it cannot be read, has another size than the image, or segments that the file lacks.
        """
        picture = open_labels(self.picture)
        if picture.mode not in ("RGB", "RGBA"):
            raise InputError(f"{self.picture} has mode {picture.mode}; expected RGB, whose colors number the segments")
        ids = np.asarray(picture)[..., :3].astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        if ids.shape != self.size:
            height, width = self.size
            raise InputError(f"{self.picture} is {ids.shape[1]}x{ids.shape[0]} pixels, its image {width}x{height}")
        numbers = np.array([part.id for part in self.parts], np.int32)
        unknown = np.setdiff1d(ids, [0, *numbers])
        if unknown.size:
            raise InputError(f"{self.picture} shows segment {unknown[0]}, which its annotation does not list")
        return _target(ids == numbers[:, None, None], self.parts)


def coco_dataset(
    images: str | PathLike[str], annotations: str | PathLike[str], pictures: str | PathLike[str] | None = None
) -> Dataset:
    """Open a dataset in COCO's format: instances, or panoptic segments.

    Args:
        images: the folder with the images.
        annotations: the JSON file. If its annotations have `segments_info` they are panoptic; if they have
            `segmentation`, polygons or run lengths, they are instances.
        pictures: of a panoptic dataset, the folder with the pictures whose colors are segment numbers; if None, that
            which is named as the file without `.json`.

    Returns:
        The dataset; its classes are the file's categories by rising id. Instances are things all of them. A panoptic
        dataset leaves out images without an annotation.

    Raises:
        InputError: if the file cannot be read or contradicts itself, or files are missing; it tells all of it.
    """
    raw = _read(annotations)
    problems = Problems(str(annotations))
    photos, (names, things, class_of) = _photos(raw, Path(images), problems), _categories(raw, problems)
    records: Sequence[CocoRecord]
    if pictures is not None or any("segments_info" in entry for entry in raw["annotations"] if isinstance(entry, dict)):
        folder = Path(annotations).with_suffix("") if pictures is None else Path(pictures)
        if not folder.is_dir():
            raise InputError(f"the folder {folder} with the pictures of {annotations} does not exist; tell where it is")
        task, records = "panoptic", _panoptic(raw, folder, photos, class_of, problems)
    else:
        task, things = "instance", frozenset(range(len(names)))
        records = _instances(raw, photos, class_of, problems)
    problems.tell()
    return Dataset(task, names, things, records)


def _instances(
    raw: Mapping[str, Any], photos: Mapping[Id, tuple[Path, Size]], class_of: Mapping[Id, int], problems: Problems
) -> list[InstancesRecord]:
    """Return the images with their objects."""
    parts: dict[Id, list[Part]] = {number: [] for number in photos}
    seen: set[Id] = set()
    for place, entry in enumerate(raw["annotations"]):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not _is_id(number):
            problems.add(f"annotation {place} of the list has no id")
        elif number in seen:
            problems.add(f"annotation {number} is there twice")
        elif not _known(entry.get("image_id"), photos):
            problems.add(f"annotation {number} is of image {entry.get('image_id')!r}, which is not in the file")
        elif not _known(entry.get("category_id"), class_of):
            problems.add(f"annotation {number} is of category {entry.get('category_id')!r}, which is not in the file")
        elif problem := _outline_problem(entry.get("segmentation"), photos[entry["image_id"]][1]):
            problems.add(f"annotation {number} {problem}")
        else:
            seen.add(number)
            parts[entry["image_id"]].append(_part(entry, class_of))
    return [InstancesRecord(*photo, tuple(parts[number])) for number, photo in photos.items()]


def _panoptic(
    raw: Mapping[str, Any],
    folder: Path,
    photos: Mapping[Id, tuple[Path, Size]],
    class_of: Mapping[Id, int],
    problems: Problems,
) -> list[PanopticRecord]:
    """Return the images with their segments."""
    records: dict[Id, PanopticRecord] = {}
    for place, entry in enumerate(raw["annotations"]):
        number = entry.get("image_id") if isinstance(entry, dict) else None
        where = f"the annotation of image {number}"
        if not _known(number, photos):
            problems.add(f"annotation {place} of the list is of image {number!r}, which is not in the file")
        elif number in records:
            problems.add(f"{where} is there twice")
        elif not isinstance(entry.get("segments_info"), list) or not isinstance(entry.get("file_name"), str):
            problems.add(f"{where} has no segments_info or no file_name, as COCO's panoptic format has")
        else:
            picture = folder / entry["file_name"]
            if not picture.is_file():
                problems.add(f"{where}: {picture} does not exist")
            parts = _segments(entry["segments_info"], where, class_of, problems)
            records[number] = PanopticRecord(*photos[number], parts, picture)
    return list(records.values())


def open_labels(path: Path) -> Image.Image:
    """Open and load a picture of labels.

    Raises:
        InputError: if it is missing, or damaged.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a picture of labels") from None
    except Exception as error:  # Pillow's decoders raise nearly everything when a file is damaged
        raise InputError(f"{path} is damaged, or no picture of labels: {error}") from error


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected COCO's annotations") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(raw, dict) or not isinstance(raw.get(key), list):
            raise InputError(f"{path} has no list of {key}; expected COCO's annotations, with the images' list too")
    return raw


def _photos(raw: Mapping[str, Any], folder: Path, problems: Problems) -> dict[Id, tuple[Path, Size]]:
    """Return path and size of the images by id."""
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist; expected the images")
    photos: dict[Id, tuple[Path, Size]] = {}
    for place, entry in enumerate(raw["images"]):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not _is_id(number) or not isinstance(entry.get("file_name"), str):
            problems.add(f"image {place} of the list has no id or no file_name")
            continue
        height, width = entry.get("height"), entry.get("width")
        if number in photos:
            problems.add(f"image {number} is there twice")
        if not all(isinstance(side, int) and side > 0 for side in (height, width)):
            problems.add(f"image {number} has no height or no width")
            height = width = 0
        if not (folder / entry["file_name"]).is_file():
            problems.add(f"image {number}: {folder / entry['file_name']} does not exist")
        photos[number] = (folder / entry["file_name"], (height, width))
    return photos


def _categories(raw: Mapping[str, Any], problems: Problems) -> tuple[tuple[str, ...], frozenset[int], dict[Id, int]]:
    """Return the names of the classes, those that are things, and the class of each category's id."""
    found: dict[int, tuple[str, bool]] = {}
    for place, entry in enumerate(raw["categories"]):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int) or not isinstance(entry.get("name"), str):
            problems.add(f"category {place} of the list has no id or no name")
        elif number in found:
            problems.add(f"category {number} is there twice")
        else:
            found[number] = (entry["name"], bool(entry.get("isthing", 1)))
    names = tuple(found[number][0] for number in sorted(found))
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(f"several categories are called {name!r}")
    class_of: dict[Id, int] = {number: place for place, number in enumerate(sorted(found))}
    return names, frozenset(class_of[number] for number in found if found[number][1]), class_of


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, int | str)  # ADE20K's panoptic annotations number images by name


def _known(value: object, among: Container[Id]) -> TypeGuard[Id]:
    return _is_id(value) and value in among


def _part(entry: Mapping[str, Any], class_of: Mapping[Id, int]) -> Part:
    area = float(entry["area"]) if isinstance(entry.get("area"), int | float) else None
    crowd = bool(entry.get("iscrowd", 0))
    return Part(entry["id"], class_of[entry["category_id"]], crowd, area, entry.get("segmentation"))


def _outline_problem(outline: Any, size: Size) -> str | None:
    """Return what is wrong with polygons or run lengths, if anything."""
    if isinstance(outline, dict):
        return _runs_problem(outline, size)
    if not isinstance(outline, list):
        return "has no segmentation: neither polygons nor run lengths"
    if not outline:
        return "is empty: it has no polygons"
    for polygon in outline:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "has a polygon that is no list of x, y, x, y, ... for at least three corners"
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in polygon):
            return "has a polygon with a corner that is no number"
    return None


def _runs_problem(runs: Mapping[str, Any], size: Size) -> str | None:
    counts = runs.get("counts")
    if runs.get("size") != list(size):
        return f"has run lengths for a height and width of {runs.get('size')}, its image has {list(size)}"
    if isinstance(counts, str):
        return None  # decoding tells whether they are damaged
    if not isinstance(counts, list) or not all(isinstance(count, int) and count >= 0 for count in counts):
        return "has run lengths that are no list of counts"
    if sum(counts) != size[0] * size[1]:
        return f"has run lengths of {sum(counts)} pixels in all, its image has {size[0] * size[1]}"
    return None


def _segments(entries: Sequence[Any], where: str, class_of: Mapping[Id, int], problems: Problems) -> tuple[Part, ...]:
    """Return the segments of an image."""
    parts: dict[int, Part] = {}
    for entry in entries:
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int) or not 0 < number <= LARGEST_ID:
            problems.add(f"{where} has a segment with the id {number!r}; expected 1 to {LARGEST_ID}")
        elif number in parts:
            problems.add(f"{where} has segment {number} twice")
        elif not _known(entry.get("category_id"), class_of):
            category = entry.get("category_id")
            problems.add(f"{where} has segment {number} of category {category!r}, which is not in the file")
        else:
            parts[number] = _part(entry, class_of)
    return tuple(parts.values())


def _rasterised(outline: Any, size: Size) -> np.ndarray:
    """Return where an object is, (H, W) bool."""
    if isinstance(outline, list):
        outline = coco_mask.merge(coco_mask.frPyObjects(outline, *size))
    elif isinstance(outline["counts"], list):
        outline = coco_mask.frPyObjects(outline, *size)
    return coco_mask.decode(outline).view(bool)


def _target(masks: np.ndarray, parts: Sequence[Part]) -> Target:
    pixels = np.count_nonzero(masks, axis=(1, 2))
    areas = [count if part.area is None else part.area for part, count in zip(parts, pixels, strict=True)]
    return Target(
        masks,
        np.array([part.class_id for part in parts], np.int32),
        np.array([part.crowd for part in parts], bool),
        np.array(areas, np.float64),
        np.array([part.id for part in parts], object),
    )

"""COCO's annotation files: instances as polygons or RLE, panoptic segments as PNGs."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from PIL import Image

from lucid_mlx.data.coco_masks import Size, decode, masks_problem, segmentation_problem
from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.files import is_file, local_path, read_json
from lucid_mlx.utils.open_image import open_image
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_ID, check_image_size, value_problem

Id = int | str  # ADE20K's panoptic annotations have strings as image ids
MAX_COCO_ID = (1 << 63) - 1


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
            InputError: if an RLE is damaged, an outline is too long, or the masks do not fit into memory.
        """
        if problem := masks_problem(len(self.annotations), self.size):
            raise InputError(f"{self.name} {problem}")
        masks = np.zeros((len(self.annotations), *self.size), bool)
        for mask, annotation in zip(masks, self.annotations, strict=True):
            try:
                mask[:] = decode(annotation.segmentation, self.size)
            except ValueError as error:
                kind = "polygon" if isinstance(annotation.segmentation, list) else "RLE"
                raise InputError(f"{self.name}: the {kind} of annotation {annotation.id} is damaged: {error}") from None
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
        if problem := masks_problem(len(self.annotations), self.size):
            raise InputError(f"{self.name} {problem}")
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
    images: str | PathLike[str],
    annotations: str | PathLike[str],
    panoptic_folder: str | PathLike[str] | None = None,
    *,
    split: str | PathLike[str] | Iterable[str] | None = None,
    crowd_as_objects: bool = False,
    orientation: str = "auto",
) -> Dataset:
    """Open a dataset in COCO's format: instances, or panoptic segments.

    Args:
        images: the folder with the images.
        annotations: the JSON file. It is panoptic if its annotations have `segments_info`, and of instances if they
            have `segmentation` (polygons or RLE).
        panoptic_folder: the folder with the PNGs of a panoptic JSON, whose colors are segment ids. None for the folder
            that is called as the file without `.json`.
        split: use only these images: a text file with the name of one in each line, or the names; None for all.
        crowd_as_objects: take annotations with `iscrowd: 1` as objects, as tools write them that mean no crowd by it.
        orientation: which pixels the labels of photos are for that EXIF rotates: "stored", "upright", or "auto" to
            compare sizes.

    Returns:
        The dataset. Its classes are the categories of the file, in the order of their ids. All classes of an instances
        file are things. Images without an annotation are left out of a panoptic dataset.

    Raises:
        InputError: if the file cannot be read or contradicts itself, or files are missing; it lists the problems.
    """
    file = local_path(annotations, "annotations")
    raw = _read(file)
    problems = Problems(str(file))
    image_files = _image_files(raw, local_path(images, "images"), problems)
    class_names, thing_ids, class_ids = _categories(raw, problems)
    records: Sequence[CocoRecord]
    if panoptic_folder is not None or any("segments_info" in x for x in raw["annotations"] if isinstance(x, dict)):
        folder = file.with_suffix("") if panoptic_folder is None else local_path(panoptic_folder, "panoptic_folder")
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
            problems.add(f"annotation {id_} is of image {shown(entry.get('image_id'))}, which is not in the file")
        elif not _is_known(entry.get("category_id"), class_ids):
            problems.add(f"annotation {id_} is of category {shown(entry.get('category_id'))}, which is not in the file")
        elif problem := _annotation_problem(entry) or segmentation_problem(
            entry.get("segmentation"), image_files[entry["image_id"]][1]
        ):
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
            problems.add(f"annotation {index} of the list is of image {shown(image_id)}, which is not in the file")
        elif image_id in records:
            problems.add(f"{name} appears twice")
        elif not isinstance(entry.get("segments_info"), list) or not isinstance(entry.get("file_name"), str):
            problems.add(f"{name} has no segments_info or no file_name, which COCO's panoptic format needs")
        else:
            png = _file_in(folder, entry["file_name"], name, problems)
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
        with open_image(path, str(path)) as image:
            image.load()
            return image
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything when a file is damaged
        raise InputError(f"{path} is damaged, or not an image of labels: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    raw = read_json(path, "COCO annotations", max_bytes=None)
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
        if value_problem("a side", [height, width], list[int], 1):
            problems.add(f"image {id_} has no height or no width: they must be whole numbers of at least 1")
            height = width = 1
        try:
            check_image_size(width, height, f"image {id_}")
        except InputError as error:
            problems.add(str(error))
        files[id_] = (_file_in(folder, entry["file_name"], f"image {id_}", problems), (height, width))
    return files


def _categories(raw: Mapping[str, Any], problems: Problems) -> tuple[tuple[str, ...], frozenset[int], dict[Id, int]]:
    """Return the names of the classes, the thing classes, and the class index of each category id."""
    categories: dict[int, tuple[str, bool]] = {}
    for index, entry in enumerate(raw["categories"]):
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if type(id_) is not int or abs(id_) > MAX_COCO_ID or not isinstance(entry.get("name"), str):
            problems.add(f"category {index} of the list has no id or no name")
        elif id_ in categories:
            problems.add(f"category {id_} appears twice")
        else:
            if entry.get("isthing", 1) not in (0, 1):
                problems.add(f"category {id_} has isthing={shown(entry['isthing'])}; expected 0 or 1")
            categories[id_] = (entry["name"], bool(entry.get("isthing", 1)))
    names = tuple(categories[id_][0] for id_ in sorted(categories))
    for name in sorted(name for name, count in Counter(names).items() if count > 1):
        problems.add(f"several categories are called {shown(name)}")
    class_ids: dict[Id, int] = {id_: index for index, id_ in enumerate(sorted(categories))}
    return names, frozenset(class_ids[id_] for id_ in categories if categories[id_][1]), class_ids


def _is_id(value: object) -> TypeGuard[Id]:
    return type(value) is str or (type(value) is int and abs(value) <= MAX_COCO_ID)


def _is_known(value: object, ids: Container[Id]) -> TypeGuard[Id]:
    return _is_id(value) and value in ids


def _file_in(folder: Path, name: str, of: str, problems: Problems) -> Path:
    """Return the path of a file in a folder or its subfolders."""
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts or len(name) > 1000:
        problems.add(f"{of} has the file_name {shown(name, 200)}; expected a path within the folder")
    elif not is_file(folder / path):
        problems.add(f"{of}: {folder / path} does not exist")
    return folder / path


def _annotation_problem(entry: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the area and the crowd of an annotation or a segment; None if they are valid."""
    if entry.get("iscrowd", 0) not in (0, 1, None):
        return f"has iscrowd={shown(entry['iscrowd'])}; expected 0 or 1"
    area = entry.get("area")
    if area is not None and not (type(area) in (int, float) and 0 <= area <= 1e18):
        return f"has the area {shown(area)}; expected a number of at least 0"
    return None


def _annotation(entry: Mapping[str, Any], class_ids: Mapping[Id, int]) -> Annotation:
    area = None if entry.get("area") is None else float(entry["area"])
    crowd = bool(entry.get("iscrowd", 0))
    return Annotation(entry["id"], class_ids[entry["category_id"]], crowd, area, entry.get("segmentation"))


def _segments(
    entries: Sequence[Any], name: str, class_ids: Mapping[Id, int], problems: Problems
) -> tuple[Annotation, ...]:
    """Return the segments of an image."""
    segments: dict[int, Annotation] = {}
    for entry in entries:
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if type(id_) is not int or not 0 < id_ <= MAX_ID:
            problems.add(f"{name} has a segment with the id {shown(id_)}; expected 1 to {MAX_ID}")
        elif id_ in segments:
            problems.add(f"{name} has segment {id_} twice")
        elif not _is_known(entry.get("category_id"), class_ids):
            category = entry.get("category_id")
            problems.add(f"{name} has segment {id_} of category {shown(category)}, which is not in the file")
        elif problem := _annotation_problem(entry):
            problems.add(f"{name}: segment {id_} {problem}")
        else:
            segments[id_] = _annotation(entry, class_ids)
    return tuple(segments.values())


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

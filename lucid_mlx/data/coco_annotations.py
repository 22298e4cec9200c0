"""The annotations of a COCO file: what can be learned is kept, the rest is counted and told."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lucid_mlx.data.coco_images import CocoImage, path_in
from lucid_mlx.data.coco_masks import Segmentation, read_segmentation
from lucid_mlx.data.coco_values import Id, area, flag, identifier, whole
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import is_file
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_ID

CROWD_HINT = (
    "which training leaves out and evaluation ignores; to take them as objects, as those are that CVAT writes for "
    "masks, set crowd_as_objects = true in [train], or pass --crowd-as-objects to eval"
)


class Annotation(NamedTuple):
    """An object of an instances file, or a segment of a panoptic file.

    Attributes:
        id: its id in the file.
        class_id: the index of its class.
        crowd: whether it covers several objects that were not separated (`iscrowd`).
        area: in pixels, as the file has it; None if it has none.
        segmentation: polygons or RLE; None for a segment, whose pixels are in a PNG.
    """

    id: int | str
    class_id: int
    crowd: bool
    area: float | None
    segmentation: Segmentation | None = None


class AnnotationReader:
    """Reads what instances and segments have in common.

    Args:
        class_ids: the class of each category id.
        crowd_as_objects: whether `iscrowd: 1` is no crowd.
        problems: where to add what contradicts itself.
        notices: where to tell what is left out.

    Attributes:
        crowds: how many annotations with `iscrowd: 1` were read.
        read: how many annotations were read, with the crowds.
    """

    def __init__(self, class_ids: Mapping[Id, int], crowd_as_objects: bool, problems: Problems, notices: Notices):
        self._class_ids, self._crowd_as_objects = class_ids, crowd_as_objects
        self.problems, self.notices = problems, notices
        self.crowds = self.read = 0

    def annotation(
        self, entry: Mapping[str, Any], id_: int | str, noun: str, segmentation: Segmentation | None = None
    ) -> Annotation | None:
        """Return an annotation or a segment.

        Args:
            entry: as the file has it.
            id_: its id.
            noun: "annotation" or "segment", for messages.
            segmentation: its pixels.

        Returns:
            The annotation; None if it is left out.
        """
        category_id = identifier(entry.get("category_id"))
        class_id = None if category_id is None else self._class_ids.get(category_id)
        if class_id is None:
            self.notices.add(noun, "left out: of a category that the file does not list", shown(id_))
            return None
        crowd = flag(entry.get("iscrowd"))
        if crowd is None:
            self.problems.add(f"{noun} {id_} has iscrowd={shown(entry['iscrowd'])}; expected 0 or 1")
            return None
        size = area(entry.get("area"))
        if size is None and entry.get("area") is not None:
            self.notices.add(noun, "without a valid area; pixels are counted instead", shown(id_))
        self.read += 1
        self.crowds += crowd
        return Annotation(id_, class_id, crowd and not self._crowd_as_objects, size, segmentation)

    def check_crowds(self, name: str) -> None:
        """Tell if most annotations are crowds.

        Args:
            name: of the file.

        Raises:
            InputError: if all are.
        """
        if self._crowd_as_objects or 2 * self.crowds <= self.read:
            return
        if self.crowds == self.read:
            raise InputError(f"{name}: all {self.read} annotations have iscrowd = 1: crowds, {CROWD_HINT}")
        warnings.warn(
            f"{name}: {self.crowds} of the {self.read} annotations have iscrowd = 1: crowds, {CROWD_HINT}", stacklevel=3
        )


def read_instances(
    entries: Sequence[Any], images: Mapping[Id, CocoImage], left_out: Collection[Id], reader: AnnotationReader
) -> dict[Id, list[Annotation]]:
    """Read the objects of an instances file.

    Args:
        entries: the list of annotations.
        images: those of the dataset.
        left_out: the ids of images of the file that are not used.
        reader: reads what they have in common with segments.

    Returns:
        The objects of each image.
    """
    problems, notices = reader.problems, reader.notices
    found: dict[Id, list[Annotation]] = {image_id: [] for image_id in images}
    seen: dict[Id, Any] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            problems.add(f"annotation {index} of the list is {shown(entry)}; expected an object with a segmentation")
            continue
        id_ = identifier(entry.get("id"))
        if id_ is None:
            id_ = f"number {index}"
            notices.add("annotation", "without a valid id", id_)
        if id_ in seen and seen[id_] == entry:
            notices.add("annotation", "listed twice", shown(id_))
            continue
        seen[id_] = entry
        image_id = identifier(entry.get("image_id"))
        if image_id is None or image_id not in images:
            if image_id not in left_out:
                notices.add("annotation", "left out: of an image that the file does not list", shown(id_))
            continue
        segmentation, problem = read_segmentation(entry.get("segmentation"), images[image_id].size)
        if segmentation is None:
            notices.add("annotation", f"left out: {problem}", shown(id_))
            continue
        if problem:
            notices.add("annotation", f"kept without a part: {problem}", shown(id_))
        annotation = reader.annotation(entry, id_, "annotation", segmentation)
        if annotation is not None:
            found[image_id].append(annotation)
    return found


def read_segments(
    entries: Sequence[Any],
    folder: Path,
    images: Mapping[Id, CocoImage],
    left_out: Collection[Id],
    reader: AnnotationReader,
) -> dict[Id, tuple[Path, list[Annotation]]]:
    """Read the segments of a panoptic file.

    Args:
        entries: the list of annotations.
        folder: the folder with the PNGs.
        images: those of the dataset.
        left_out: the ids of images of the file that are not used.
        reader: reads what they have in common with instances.

    Returns:
        The PNG and the segments of each image that has an annotation.
    """
    problems, notices = reader.problems, reader.notices
    found: dict[Id, tuple[Path, list[Annotation]]] = {}
    missing: list[Path] = []
    for index, entry in enumerate(entries):
        image_id = identifier(entry.get("image_id")) if isinstance(entry, dict) else None
        if image_id is None or image_id not in images:
            if image_id not in left_out:
                notices.add("annotation", "left out: of an image that the file does not list", f"number {index}")
            continue
        name = f"the annotation of image {image_id}"
        png_name = entry.get("file_name") or images[image_id].path.with_suffix(".png").name
        if not isinstance(entry.get("segments_info"), list) or not isinstance(png_name, str):
            problems.add(f"{name} has no segments_info, which COCO's panoptic format needs")
        elif image_id in found:
            problems.add(f"{name} appears twice")
        elif (png := path_in(folder, png_name)) is None:
            problems.add(f"{name} has the file_name {shown(png_name, 200)}; expected a path within the folder")
        elif not is_file(png := png if is_file(png) else png.with_suffix(".png")):
            missing.append(png)
        else:
            found[image_id] = (png, list(_segments(entry["segments_info"], name, reader)))
    for png in missing:
        if not found:
            problems.add(f"{png} does not exist")
        else:
            notices.add("image", "left out: its panoptic PNG does not exist", str(png))
    if unlabeled := len(images) - len(found) - len(missing):
        for path in [image.path for id_, image in images.items() if id_ not in found][:unlabeled]:
            notices.add("image", "left out: without an annotation", path.name)
    return found


def _segments(entries: Sequence[Any], name: str, reader: AnnotationReader) -> Iterator[Annotation]:
    """Yield the segments of an image."""
    seen: set[int] = set()
    for entry in entries:
        id_ = whole(entry.get("id")) if isinstance(entry, dict) else None
        if id_ is None or not 0 < id_ <= MAX_ID:
            shown_id = shown(entry.get("id") if isinstance(entry, dict) else entry)
            reader.problems.add(f"{name} has a segment with the id {shown_id}; expected 1 to {MAX_ID}")
        elif id_ in seen:
            reader.problems.add(f"{name} has segment {id_} twice")
        else:
            seen.add(id_)
            annotation = reader.annotation(entry, id_, "segment")
            if annotation is not None:
                yield annotation

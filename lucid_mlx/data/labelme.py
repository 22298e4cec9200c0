"""Labelme's folders: beside each photo, or in a folder of their own, a JSON file with its shapes."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lucid_mlx.data.coco_values import whole
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.drawn_shapes import bitmap, decode_base64_png, ellipse, points_of, rectangle, union
from lucid_mlx.data.labeled_photo import MAX_LABEL_BYTES, LabeledObject, LabeledPhoto, dataset_of_photos, name_in
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import Size, read_header
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import read_json
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_image_size

NO_CLASSES = ("__ignore__", "_background_")  # the first lines of labelme's labels.txt


def labelme_dataset(
    images: Path,
    files: Sequence[Path],
    labels: Path,
    class_names: Sequence[str] | None = None,
    *,
    split: Collection[str] | None = None,
    orientation: str = "auto",
) -> Dataset:
    """Open labels of labelme.

    Polygons, masks, circles and rectangles are objects; those of one label and one `group_id` are one object. What
    cannot be learned, such as lines and points, is left out, and told.

    Args:
        images: the folder with the photos.
        files: the JSON files.
        labels: the folder with them.
        class_names: the classes to use, in their order; None for all labels that occur, by name.
        split: the names of the images to use; None for all.
        orientation: "stored", "upright" or "auto", as `coco_dataset` takes it.

    Returns:
        The dataset, for instance segmentation.

    Raises:
        InputError: if nothing can be learned from it, or something contradicts itself.
    """
    problems, notices = Problems(str(labels)), Notices(str(labels))
    photos = []
    for file in files:
        try:
            raw = read_json(file, "labels of labelme", MAX_LABEL_BYTES)
        except InputError as error:
            problems.add(str(error))
            continue
        if not isinstance(raw.get("shapes"), list) or not isinstance(raw.get("imagePath"), str):
            notices.add("file", "left out: without shapes or imagePath, which labelme writes", file.name)
            continue
        try:
            photos.append(_photo(raw, file, file.relative_to(labels), images, notices))
        except InputError as error:
            problems.add(str(error))
    names = None if class_names is None else [name for name in class_names if name not in NO_CLASSES]
    return dataset_of_photos(
        photos, images, labels, names, split=split, orientation=orientation, problems=problems, notices=notices
    )


def _photo(raw: dict[str, Any], file: Path, place: Path, images: Path, notices: Notices) -> LabeledPhoto:
    path = raw["imagePath"].replace("\\", "/")
    name = name_in(images, (file.parent / path, images / place.parent / path), raw["imagePath"])
    height, width = whole(raw.get("imageHeight")), whole(raw.get("imageWidth"))
    size = (height, width) if height and width and min(height, width) > 0 else None
    if size is None and (header := read_header(images / name)):
        size = header.upright_size
    if size is not None:
        check_image_size(size[1], size[0], str(file))
    parts: dict[Any, list[Any]] = {}
    for index, shape in enumerate(raw["shapes"]):
        id_ = f"shape {index} of {place}"
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not label.strip() or label == NO_CLASSES[0]:
            notices.add("shape", "left out: without a label", id_)
            continue
        segmentation, problem = _segmentation(shape, size)
        if segmentation is None:
            notices.add("shape", f"left out: {problem}", id_)
            continue
        if shape.get("shape_type") == "rectangle":
            notices.add("rectangle", "taken for an object with all its pixels", id_)
        if isinstance(flags := shape.get("flags"), dict) and any(flags.values()):
            notices.add("shape", "with flags, which are not used", f"{id_}: {next(x for x in flags if flags[x])}")
        group = shape.get("group_id")
        key = (label, str(group)) if group is not None else (label, index, None)
        parts.setdefault(key, []).append(segmentation)
    if isinstance(flags := raw.get("flags"), dict) and any(flags.values()):
        notices.add("photo", "with flags, which are not used", f"{name}: {next(x for x in flags if flags[x])}")
    objects = [
        LabeledObject(f"object {number} of {place}", key[0], union(found, size))
        for number, (key, found) in enumerate(parts.items())
    ]
    return LabeledPhoto(name, size, objects, file if raw.get("imageData") else None)


def _segmentation(shape: dict[str, Any], size: Size | None) -> tuple[Any, str]:
    """Return polygons or RLE; or None, and why the shape is none."""
    kind, points = shape.get("shape_type") or "polygon", points_of(shape.get("points"))
    if kind in ("line", "linestrip", "point", "points"):
        return None, f"a {kind}, which outlines nothing"
    if points is None:
        return None, "its points are no numbers"
    corners = [x for point in points for x in point]
    if kind in ("polygon", "oriented_rectangle"):
        return ([corners], "") if len(points) > 2 else (None, "a polygon of fewer than three corners")
    if kind not in ("rectangle", "circle", "mask"):
        return None, f"of the type {shown(kind)}, which is not known"
    if len(points) != 2 and not (kind == "rectangle" and len(points) == 4):
        return None, f"a {kind} that has not two points"
    if kind == "rectangle":
        xs, ys = corners[::2], corners[1::2]
        return [rectangle(min(xs), min(ys), max(xs), max(ys))], ""
    if kind == "circle":
        radius = math.dist(points[0], points[1])
        return [ellipse(points[0], radius, radius)], ""
    mask = decode_base64_png(shape.get("mask"), "the mask of a shape")
    if mask is None:
        return None, "its mask is damaged"
    if size is None:
        return None, "a mask, and the size of the photo is not known"
    return bitmap(mask, int(points[0][0]), int(points[0][1]), size), ""

"""Supervisely's projects: `meta.json` with the classes, and in each dataset `img` with photos and `ann` with labels.

https://docs.supervisely.com/data-organization/00_ann_format_navi
"""

import base64
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lucid_mlx.data.coco_values import whole
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.drawn_shapes import Point, bitmap, decode_png, points_of, rectangle
from lucid_mlx.data.labeled_photo import MAX_LABEL_BYTES, LabeledObject, LabeledPhoto, dataset_of_photos, name_in
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import Size
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import is_file, read_json
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_image_size

META = "meta.json"
MAX_BITMAP_BYTES = 64 << 20  # of a PNG


def supervisely_dataset(
    images: Path,
    files: Sequence[Path],
    labels: Path,
    class_names: Sequence[str] | None = None,
    *,
    split: Collection[str] | None = None,
    orientation: str = "auto",
) -> Dataset:
    """Open labels of Supervisely.

    Polygons with their holes, bitmaps and rectangles are objects. What cannot be learned, such as lines and points, is
    left out, and told.

    Args:
        images: the folder with the photos.
        files: the JSON files of the photos.
        labels: the folder with them, or one above.
        class_names: the classes to use, in their order; None for those of `meta.json`, or without it for all that
            occur, by name.
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
            raw = read_json(file, "labels of Supervisely", MAX_LABEL_BYTES)
            photo = _photo(raw, file, file.relative_to(labels), images, notices)
        except InputError as error:
            problems.add(str(error))
            continue
        if photo is None:
            notices.add("file", "left out: without the size and the objects that Supervisely writes", file.name)
        else:
            photos.append(photo)
    names = class_names if class_names is not None else _classes_of_meta(labels)
    return dataset_of_photos(
        photos, images, labels, names, split=split, orientation=orientation, problems=problems, notices=notices
    )


def _classes_of_meta(labels: Path) -> list[str] | None:
    for folder in (labels, *list(labels.absolute().parents)[:2]):
        if is_file(folder / META):
            classes = read_json(folder / META, "Supervisely's classes").get("classes")
            titles = [x.get("title") for x in classes if isinstance(x, dict)] if isinstance(classes, list) else []
            names = [title for title in titles if isinstance(title, str)]
            return list(dict.fromkeys(names)) or None
    return None


def _photo(raw: dict[str, Any], file: Path, place: Path, images: Path, notices: Notices) -> LabeledPhoto | None:
    sides, shapes = raw.get("size"), raw.get("objects")
    height, width = (whole(sides.get(side)) for side in ("height", "width")) if isinstance(sides, dict) else (None,) * 2
    if not height or not width or min(height, width) < 1 or not isinstance(shapes, list):
        return None
    check_image_size(width, height, str(file))
    size, photo = (height, width), file.stem  # a.jpg.json
    name = name_in(images, (file.parent.parent / "img" / photo, images / place.parent / photo), photo)
    objects = []
    for index, shape in enumerate(shapes):
        id_ = f"object {index} of {place}"
        label = shape.get("classTitle") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not label.strip():
            notices.add("object", "left out: without a classTitle", id_)
            continue
        segmentation, problem = _segmentation(shape, size)
        if segmentation is None:
            notices.add("object", f"left out: {problem}", id_)
            continue
        if shape.get("geometryType") == "rectangle":
            notices.add("rectangle", "taken for an object with all its pixels", id_)
        objects.append(LabeledObject(id_, label, segmentation))
    return LabeledPhoto(name, size, objects)


def _segmentation(shape: dict[str, Any], size: Size) -> tuple[Any, str]:
    """Return polygons or RLE; or None, and why the object is none."""
    kind, points = shape.get("geometryType"), shape.get("points")
    if kind == "bitmap":
        return _bitmap(shape.get("bitmap"), size)
    if kind not in ("polygon", "rectangle"):
        return None, f"of the geometry {shown(kind)}, which outlines nothing that is known"
    outline = points_of(points.get("exterior")) if isinstance(points, dict) else None
    if outline is None or not isinstance(points, dict):
        return None, "its points are no numbers"
    if kind == "rectangle":
        if len(outline) != 2:
            return None, "a rectangle that has not two corners"
        (left, right), (top, bottom) = sorted(x for x, _ in outline), sorted(y for _, y in outline)
        return [rectangle(left, top, right + 1, bottom + 1)], ""  # both corners are pixels of it
    if len(outline) < 3:
        return None, "a polygon of fewer than three corners"
    inner = points.get("interior")
    holes = [points_of(hole) for hole in inner] if isinstance(inner, list) else []
    return _polygon(outline, [hole for hole in holes if hole is not None and len(hole) > 2], size), ""


def _polygon(outline: Sequence[Point], holes: Sequence[Sequence[Point]], size: Size) -> dict[str, Any]:
    """Return the run lengths of a polygon. Its corners are pixels, and outlines, those of holes too, belong to it."""
    mask = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(mask)
    draw.polygon(list(outline), fill=1, outline=1)
    for hole in holes:
        draw.polygon(list(hole), fill=0, outline=1)
    return bitmap(np.asarray(mask), 0, 0, size)


def _bitmap(raw: Any, size: Size) -> tuple[Any, str]:
    """Return the run lengths of a bitmap: a PNG, compressed by zlib, in base64, and where its upper left pixel is."""
    origin = points_of([raw.get("origin")]) if isinstance(raw, dict) else None
    if origin is None:
        return None, "a bitmap without an origin"
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(raw.get("data")), MAX_BITMAP_BYTES)
        mask = decode_png(data, "the bitmap of an object")
    except Exception:  # Pillow raises nearly everything when a file is damaged
        return None, "its bitmap is damaged"
    return bitmap(mask, int(origin[0][0]), int(origin[0][1]), size), ""

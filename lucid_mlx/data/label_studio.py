"""Label Studio's JSON: a list of tasks, each with a photo and its annotations, brushes as run lengths.

https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from lucid_mlx.data.coco_values import whole
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.drawn_shapes import bitmap, ellipse, points_of, rectangle
from lucid_mlx.data.labeled_photo import LabeledObject, LabeledPhoto, dataset_of_photos, name_in
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import Size
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import read_json_list
from lucid_mlx.utils.open_image import picture_endings
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_image_size

UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # before the names of photos that were uploaded
HALF = 128  # of a brush's opacity


def label_studio_dataset(
    images: Path,
    file: Path,
    class_names: Sequence[str] | None = None,
    *,
    split: Collection[str] | None = None,
    orientation: str = "auto",
) -> Dataset:
    """Open an export of Label Studio, in the format "JSON".

    Polygons, brushes, rectangles and ellipses are objects. Of several annotations of a photo the first one counts that
    was not cancelled. What cannot be learned, such as key points, is left out, and told.

    Args:
        images: the folder with the photos.
        file: the JSON file.
        class_names: the classes to use, in their order; None for all labels that occur, by name.
        split: the names of the images to use; None for all.
        orientation: "stored", "upright" or "auto", as `coco_dataset` takes it.

    Returns:
        The dataset, for instance segmentation.

    Raises:
        InputError: if nothing can be learned from it, or something contradicts itself.
    """
    tasks = read_json_list(file, "tasks of Label Studio", None)
    problems, notices = Problems(str(file)), Notices(str(file))
    if not any(isinstance(task, dict) and isinstance(task.get("annotations"), list) for task in tasks):
        raise InputError(
            f"{file} has no task with annotations; expected an export of Label Studio in the format JSON (not "
            "JSON-MIN), or COCO's JSON"
        )
    photos = []
    for index, task in enumerate(tasks):
        id_ = task.get("id", index) if isinstance(task, dict) else index
        data = task.get("data") if isinstance(task, dict) else None
        name = _photo_name(data) if isinstance(data, dict) else None
        if name is None:
            notices.add("task", "left out: without a photo", f"task {shown(id_)}")
            continue
        annotations = task.get("annotations")
        valid = [x for x in annotations if isinstance(x, dict)] if isinstance(annotations, list) else []
        done = [x for x in valid if not x.get("was_cancelled") and isinstance(x.get("result"), list)]
        if not done:
            notices.add("task", "left out: without an annotation", f"task {shown(id_)}")
            continue
        if len(done) > 1:
            notices.add("task", "with several annotations, of which the first is taken", f"task {shown(id_)}")
        try:
            size, objects = _objects(done[0]["result"], f"task {shown(id_)}", notices)
        except InputError as error:
            problems.add(str(error))
            continue
        short = UPLOADED.sub("", PurePosixPath(name).name)
        candidates = (images / name.lstrip("/"), images / PurePosixPath(name).name, images / short)
        photos.append(LabeledPhoto(name_in(images, candidates, name), size, objects))
    return dataset_of_photos(
        photos, images, file, class_names, split=split, orientation=orientation, problems=problems, notices=notices
    )


def _photo_name(data: dict[str, Any]) -> str | None:
    """Return the path in the address of a task's photo."""
    for value in data.values():
        if not isinstance(value, str):
            continue
        address = urlsplit(value.replace("\\", "/"))
        local = parse_qs(address.query).get("d")  # of files on the server's disk: /data/local-files/?d=photos/a.jpg
        name = local[0] if local else unquote(address.path)
        if PurePosixPath(name).suffix.lower() in picture_endings():
            return name
    return None


def _objects(results: Sequence[Any], task: str, notices: Notices) -> tuple[Size | None, list[LabeledObject]]:
    """Return the size of a photo, and its objects."""
    regions = [x for x in results if isinstance(x, dict) and isinstance(x.get("value"), dict)]
    labels = {x.get("id"): label for x in regions if (label := _label(x["value"])) is not None}
    photo_size: Size | None = None
    objects = []
    for index, region in enumerate(regions):
        id_, value = f"region {index} of {task}", region["value"]
        if not {"points", "rle", "width", "radiusX", "x"} & value.keys():
            continue  # a label alone, of the region of the same id; or a choice or a text about the whole photo
        if not isinstance(label := labels.get(region.get("id")), str) or not label.strip():
            notices.add("region", "left out: without a label", id_)
            continue
        height, width = whole(region.get("original_height")), whole(region.get("original_width"))
        if not height or not width or min(height, width) < 1:
            notices.add("region", "left out: without the size of the photo", id_)
            continue
        check_image_size(width, height, task)
        segmentation, problem = _segmentation(value, (height, width))
        if region.get("image_rotation"):
            segmentation, problem = None, "drawn on a photo that was rotated by hand"
        if segmentation is None:
            notices.add("region", f"left out: {problem}", id_)
            continue
        if isinstance(segmentation, list) and "width" in value:
            notices.add("rectangle", "taken for an object with all its pixels", id_)
        photo_size = (height, width)
        objects.append(LabeledObject(id_, label, segmentation))
    return photo_size, objects


def _label(value: dict[str, Any]) -> str | None:
    """Return the label of a region, as in `"polygonlabels": ["cat"]`."""
    for key, labels in value.items():
        if key.endswith("labels") and isinstance(labels, list) and labels and isinstance(labels[0], str):
            return labels[0]
    return None


def _segmentation(value: dict[str, Any], size: Size) -> tuple[Any, str]:
    """Return polygons or RLE; or None, and why the region is none. Coordinates are percents of the photo's sides."""
    height, width = size
    if "rle" in value:
        opacity = decode_brush(value["rle"], size)
        return (None, "its brush is damaged") if opacity is None else (bitmap(opacity >= HALF, 0, 0, size), "")
    if "points" in value:
        points = points_of(value["points"])
        if points is None or len(points) < 3:
            return None, "a polygon of fewer than three corners"
        return [[x for point in points for x in (point[0] * width / 100, point[1] * height / 100)]], ""
    keys = ("x", "y", "radiusX", "radiusY") if "radiusX" in value else ("x", "y", "width", "height")
    found = points_of([[value.get(keys[0]), value.get(keys[1])], [value.get(keys[2]), value.get(keys[3])]])
    if found is None or not {"height", "radiusX"} & value.keys():
        return None, "a point, which outlines nothing"
    (x, y), (wide, high) = [(one * width / 100, two * height / 100) for one, two in found]
    turn = value.get("rotation")
    degrees = turn if isinstance(turn, int | float) and abs(turn) <= 360 else 0
    if "radiusX" in value:
        return [ellipse((x, y), wide, high, degrees)], ""
    return [rectangle(x, y, x + wide, y + high, degrees)], ""


def decode_brush(rle: Any, size: Size) -> np.ndarray | None:
    """Decode Label Studio's run lengths of a brush: those of the bytes of a picture in red, green, blue and opacity.

    A bit says whether one value follows that repeats, or one for each byte; before them are the number of bytes, that
    of the bits of a value, and those of the bits of four kinds of lengths. (rle-pack in github.com/thi-ng/umbrella)

    Args:
        rle: a list of bytes.
        size: (height, width) of the picture.

    Returns:
        (H, W) uint8, the opacity; None if it is damaged.
    """
    height, width = size
    try:
        data = bytes(rle)
        bits = _Bits(data)
        total, value_bits, *length_bits = bits.take(32), bits.take(5) + 1, *(bits.take(4) + 1 for _ in range(4))
        if total != height * width * 4 or value_bits > 8:
            return None
        out = np.empty(total, np.uint8)
        done = 0
        while done < total:
            repeats = bits.take(1)
            length = bits.take(length_bits[bits.take(2)]) + 1
            if done + length > total:
                return None
            out[done : done + length] = (
                bits.take(value_bits) if repeats else [bits.take(value_bits) for _ in range(length)]
            )
            done += length
    except (TypeError, ValueError):
        return None
    return out.reshape(height, width, 4)[..., 3]


class _Bits:
    """Reads numbers of some bits each, the highest bit first."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, count: int) -> int:
        """Return the next number."""
        end = self._at + count
        if end > 8 * len(self._data):
            raise ValueError("the data ends early")
        number = int.from_bytes(self._data[self._at // 8 : -(-end // 8)], "big") >> -end % 8
        self._at = end
        return number & ((1 << count) - 1)

"""Rectangles, circles, ellipses and bitmaps, as COCO's polygons and run lengths."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.data.coco_masks import encode, read_segmentation
from lucid_mlx.data.orientation import Size
from lucid_mlx.utils.open_image import open_image

Point = tuple[float, float]
CORNERS = 72  # of the polygon in place of a circle: within 0.1 % of the radius


def points_of(value: Any) -> list[Point] | None:
    """Return a list of [x, y] as numbers; None for anything else.

    Args:
        value: as a file has it.

    Returns:
        The points.
    """
    if not isinstance(value, list):
        return None
    points = []
    for point in value:
        if not isinstance(point, list) or len(point) != 2 or not all(type(x) in (int, float) for x in point):
            return None
        if not all(abs(x) <= 1e9 for x in point):  # False for NaN
            return None
        points.append((float(point[0]), float(point[1])))
    return points


def ellipse(center: Point, radius_x: float, radius_y: float, degrees: float = 0) -> list[float]:
    """Return a polygon in place of an ellipse.

    Args:
        center: its center.
        radius_x: its radius along x, in pixels.
        radius_y: its radius along y, in pixels.
        degrees: by which it is turned, clockwise in the picture.

    Returns:
        x, y, x, y, ...
    """
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    turn = math.radians(degrees)
    x, y = radius_x * np.cos(angles), radius_y * np.sin(angles)
    xs = center[0] + x * math.cos(turn) - y * math.sin(turn)
    ys = center[1] + x * math.sin(turn) + y * math.cos(turn)
    return np.stack([xs, ys], axis=1).ravel().tolist()


def rectangle(left: float, top: float, right: float, bottom: float, degrees: float = 0) -> list[float]:
    """Return a polygon in place of a rectangle.

    Args:
        left: its left side.
        top: its upper side.
        right: its right side.
        bottom: its lower side.
        degrees: by which it is turned about its upper left corner, clockwise in the picture.

    Returns:
        x, y, x, y, ...
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners: list[float] = []
    for x, y in ((0.0, 0.0), (right - left, 0.0), (right - left, bottom - top), (0.0, bottom - top)):
        corners += (left + x * cos - y * sin, top + x * sin + y * cos)
    return corners


def bitmap(mask: np.ndarray, left: int, top: int, size: Size) -> dict[str, Any]:
    """Return the run lengths of a bitmap that covers a part of an image.

    Args:
        mask: (h, w) bool.
        left: the column of its upper left pixel.
        top: the row of its upper left pixel.
        size: (height, width) of the image, outside of which it is cut off.

    Returns:
        RLE, as COCO has it.
    """
    whole = np.zeros(size, np.uint8, order="F")
    first_row, first_column = max(top, 0), max(left, 0)
    part = mask[first_row - top : max(size[0] - top, 0), first_column - left : max(size[1] - left, 0)]
    whole[first_row : first_row + part.shape[0], first_column : first_column + part.shape[1]] = part
    return {"size": list(size), "counts": coco_mask.encode(whole)["counts"].decode("ascii")}


def decode_png(data: bytes, name: str) -> np.ndarray:
    """Decode the PNG of a mask.

    Args:
        data: the file.
        name: of it, in messages.

    Returns:
        (h, w) bool: where it is not zero; of a picture with transparency, where it is not transparent.

    Raises:
        InputError: if it is too large.
        OSError: if it is no picture.
    """
    with open_image(io.BytesIO(data), name) as image:
        if image.mode in ("RGBA", "LA"):
            return np.asarray(image.getchannel("A")) > 0
        return np.asarray(image if image.mode in ("1", "L", "P", "I;16", "I") else image.convert("L")) > 0


def decode_base64_png(text: Any, name: str) -> np.ndarray | None:
    """Decode the PNG of a mask that is written as text.

    Args:
        text: in base64, as a file has it.
        name: of it, in messages.

    Returns:
        As `decode_png`; None if it is damaged.
    """
    try:
        return decode_png(base64.b64decode(text), name)
    except Exception:  # Pillow raises nearly everything when a file is damaged
        return None


def union(parts: Sequence[Any], size: Size | None) -> Any:
    """Return several segmentations as one.

    Args:
        parts: of each a list of polygons, or RLE.
        size: (height, width) of the image; None if it is not known, when all must be polygons.

    Returns:
        Polygons if all are, else RLE of what can be read.
    """
    if all(isinstance(part, list) for part in parts):
        return [polygon for part in parts for polygon in part]
    if len(parts) == 1 or size is None:
        return parts[0]
    read = [found for part in parts if (found := read_segmentation(part, size)[0]) is not None]
    runs = [{"size": list(size), "counts": encode(part, size)} for part in read]
    merged = coco_mask.merge(runs) if runs else {"counts": b""}
    return {"size": list(size), "counts": bytes(merged["counts"]).decode("ascii")}

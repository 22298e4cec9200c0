"""COCO's polygons and run-length encoding (RLE): checked, and decoded in bounded memory whatever they hold."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MB, max_image_bytes

Size = tuple[int, int]
Polygon = Sequence[float]  # x, y, x, y, ...

MAX_COORDINATE = 1e15  # up to which differences of coordinates are exact enough
MAX_OUTLINE = 2_000_000  # pixels; COCO's code takes forty bytes for each
MAX_MASKS = 16  # times the bytes of the largest image: for all masks of an image
RUN_CHARACTERS = 7  # of a number in compressed RLE; they hold 35 bits


def segmentation_problem(segmentation: Any, size: Size) -> str | None:
    """Check polygons or RLE.

    Args:
        segmentation: as an annotation has it.
        size: (height, width) of the image.

    Returns:
        What is wrong; None if they are valid. Compressed RLE is checked when it is decoded.
    """
    if isinstance(segmentation, dict):
        return _rle_problem(segmentation, size)
    if not isinstance(segmentation, list):
        return "has no segmentation: neither polygons nor RLE"
    if not segmentation:
        return "has an empty list of polygons"
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "has a polygon that is not a list of x, y, x, y, ... of at least three points"
        if not all(type(x) in (int, float) and -MAX_COORDINATE <= x <= MAX_COORDINATE for x in polygon):
            return "has a polygon with a coordinate that is not a number, or too large"
    return None


def _rle_problem(rle: Mapping[str, Any], size: Size) -> str | None:
    counts = rle.get("counts")
    if rle.get("size") != list(size):
        return f"has an RLE for a height and width of {shown(rle.get('size'))}, its image has {list(size)}"
    if isinstance(counts, str):
        return None
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        return "has an RLE whose counts are not a list of numbers"
    if sum(counts) != size[0] * size[1]:
        return f"has an RLE of {shown(sum(counts))} pixels, its image has {size[0] * size[1]}"
    return None


def masks_problem(count: int, size: Size) -> str | None:
    """Check that the masks of an image fit into memory.

    Args:
        count: how many there are.
        size: (height, width) of the image.

    Returns:
        What is wrong; None if they fit.
    """
    limit = MAX_MASKS * max_image_bytes()
    if count * size[0] * size[1] <= limit:
        return None
    return (
        f"has {count} masks of {size[1]}x{size[0]} pixels, which take {count * size[0] * size[1] // MB} MB; the limit "
        f"is {limit // MB} MB: make the image smaller"
    )


def decode(segmentation: Any, size: Size) -> np.ndarray:
    """Decode polygons or RLE without a `segmentation_problem`.

    Args:
        segmentation: as an annotation has it.
        size: (height, width) of the image.

    Returns:
        The mask, (H, W) bool.

    Raises:
        ValueError: if compressed RLE is damaged, or the outline of polygons is too long.
    """
    if not isinstance(segmentation, list):
        counts = segmentation["counts"]
        return _decode_runs(_decompressed(counts) if isinstance(counts, str) else np.array(counts, np.int64), size)
    polygons = [clipped for polygon in segmentation if len(clipped := _clip(polygon, size)) >= 6]
    if sum(map(_outline, polygons)) > MAX_OUTLINE:
        raise ValueError(f"its polygons have an outline of more than {MAX_OUTLINE} pixels")
    if not polygons:
        return np.zeros(size, bool)
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *size))).view(bool)


def _decode_runs(counts: np.ndarray, size: Size) -> np.ndarray:
    """Return the mask of runs down the columns: pixels outside, inside, outside and so on."""
    if counts.size == 0 or counts.min() < 0 or counts.sum() != size[0] * size[1]:
        raise ValueError(f"its runs do not add up to the {size[0] * size[1]} pixels of the image")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size[::-1]).T


def _decompressed(text: str) -> np.ndarray:
    """Return the numbers of compressed RLE: five bits a character, the lowest first, the sixth if more follow.

    From the fourth number on, each is the difference to the last but one.
    """
    codes = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("its counts are no compressed run lengths")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > RUN_CHARACTERS:
        raise ValueError("its counts are no compressed run lengths")
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << (5 * places), starts)
    numbers -= np.where(codes[ends] & 16, 1 << (5 * lengths), 0)  # the highest bit is the sign
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def _outline(polygon: Polygon) -> float:
    points = np.array(polygon, np.float64).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _clip(polygon: Polygon, size: Size) -> Polygon:
    """Cut off what is further outside of the image than the image is large; other polygons stay as they are.

    COCO's code follows each edge pixel by pixel, however far from the image that is. (Sutherland and Hodgman, 1974)
    """
    height, width = size
    for axis, sign, limit in ((0, 1, 2 * width), (0, -1, width), (1, 1, 2 * height), (1, -1, height)):
        distances = [sign * x - limit for x in polygon[axis::2]]  # how far each point is outside
        if not distances or max(distances) <= 0:
            continue
        points = list(zip(polygon[::2], polygon[1::2], distances, strict=True))
        kept: list[float] = []
        for (x, y, distance), (next_x, next_y, next_distance) in pairwise([*points, points[0]]):
            if distance <= 0:
                kept += (x, y)
            if (distance <= 0) != (next_distance <= 0):
                share = distance / (distance - next_distance)
                crossing = [x + share * (next_x - x), y + share * (next_y - y)]
                crossing[axis] = sign * limit
                kept += crossing
        polygon = kept
    return polygon

"""COCO's polygons and run-length encoding (RLE): checked, and encoded in bounded memory whatever they hold."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.data.coco_values import whole

Size = tuple[int, int]
Polygon = np.ndarray  # float64: x, y, x, y, ...
Segmentation = Sequence[Polygon] | Mapping[str, Any]  # polygons, or RLE
Runs = str | bytes | Sequence[int]

NO_PIXEL = "without a pixel"

MAX_COORDINATE = 1e15  # up to which differences of coordinates are exact enough
MAX_OUTLINE = 2_000_000  # pixels; COCO's code takes forty bytes for each
RUN_CHARACTERS = 7  # of a number in compressed RLE; they hold 35 bits


def read_segmentation(segmentation: Any, size: Size) -> tuple[Segmentation | None, str | None]:
    """Read polygons or RLE as the tools of labeling write them.

    Polygons are lists of x, y, x, y, ..., one such list alone, lists of [x, y] pairs, or mappings of x and y.

    Args:
        segmentation: as an annotation has it.
        size: (height, width) of the image.

    Returns:
        Polygons or RLE without what covers no pixel, None if nothing is left; and why something was left out, None if
        nothing was.
    """
    if isinstance(segmentation, list) and len(segmentation) == 1 and isinstance(segmentation[0], dict):
        segmentation = segmentation[0]
    if isinstance(segmentation, dict) and "counts" in segmentation:
        return _read_rle(segmentation, size)
    parts = _polygons(segmentation)
    if not parts:
        return None, "without an outline"
    polygons, problem = [], None
    for part in parts:
        polygon, part_problem = _read_polygon(part)
        problem = problem or part_problem
        if polygon is not None and len(clipped := _clip(polygon, size)) >= 6:
            polygons.append(clipped)
    if not polygons:
        return None, problem or NO_PIXEL
    most = 3 * max(size) * sum(map(len, polygons))  # what their outlines may take at most
    if most > MAX_OUTLINE and sum(map(_outline, polygons)) > MAX_OUTLINE:
        return None, f"with an outline of more than {MAX_OUTLINE} pixels"
    if _may_be_empty(polygons, size) and not run_lengths(encode(polygons, size), size)[1::2].any():
        return None, NO_PIXEL
    return polygons, problem


def _polygons(segmentation: Any) -> list[Any]:
    """Return the polygons of a segmentation, as they are written."""
    if isinstance(segmentation, dict):
        return [segmentation]
    if not isinstance(segmentation, list):
        return []
    numbers = [not isinstance(x, list | dict) for x in segmentation]
    pairs = [isinstance(x, list) and len(x) == 2 and not isinstance(x[0], list) for x in segmentation]
    points = [isinstance(x, dict) and {"x", "y"} <= x.keys() and not isinstance(x["x"], list) for x in segmentation]
    if segmentation and (all(numbers) or (len(segmentation) > 2 and (all(pairs) or all(points)))):
        return [segmentation]
    return [part for part in segmentation if part != []]


def _read_polygon(part: Any) -> tuple[Polygon | None, str | None]:
    """Return a polygon as an array, or what is wrong with it."""
    if isinstance(part, dict):
        xs, ys = (part.get(axis, part.get(f"all_points_{axis}")) for axis in "xy")
        part = [[x, y] for x, y in zip(xs, ys, strict=False)] if isinstance(xs, list) and isinstance(ys, list) else None
    elif isinstance(part, list) and all(isinstance(x, dict) for x in part):
        part = [[x.get("x"), x.get("y")] for x in part]
    if isinstance(part, list) and all(isinstance(x, list) and len(x) == 2 for x in part):
        part = [x for pair in part for x in pair]
    if not isinstance(part, list):
        return None, "with a polygon that is no list of numbers"
    try:
        polygon = np.array(part, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None, "with a coordinate that is no number"
    if polygon.ndim != 1 or not np.all(np.abs(polygon) <= MAX_COORDINATE) or bool in set(map(type, part)):
        return None, "with a coordinate that is no number"
    if len(polygon) % 2:
        return None, "with an odd number of coordinates"
    return (polygon, None) if len(polygon) >= 6 else (None, "with a polygon of fewer than three corners")


def _may_be_empty(polygons: Sequence[Polygon], size: Size) -> bool:
    """Return whether polygons are so thin, or so far at the edge, that they may cover no pixel."""
    for polygon in polygons:
        points = polygon.reshape(-1, 2)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        if left < 0 or top < 0 or right > size[1] or bottom > size[0]:
            continue
        xs, ys = points[:, 0], points[:, 1]
        area = abs(float(xs[:-1] @ ys[1:] - xs[1:] @ ys[:-1] + xs[-1] * ys[0] - xs[0] * ys[-1])) / 2
        if area > right - left + bottom - top + 1:
            return False
    return True


def _read_rle(rle: Mapping[str, Any], size: Size) -> tuple[Segmentation | None, str | None]:
    counts = rle["counts"]
    sides = rle.get("size", list(size))
    if isinstance(counts, list):
        counts = list(map(whole, counts))
        if not all(count is not None and 0 <= count <= MAX_COORDINATE for count in counts):
            return None, "with run lengths that are no numbers"
    elif not isinstance(counts, str):
        return None, "with run lengths that are no numbers"
    if counts in ("", []):
        return None, NO_PIXEL
    if not isinstance(sides, list) or list(map(whole, sides)) != list(size):
        return None, "with run lengths for an image of another size"
    try:
        lengths = run_lengths(counts, size)
    except ValueError:
        return None, "with run lengths that do not fit the image"
    return ({"size": list(size), "counts": counts}, None) if lengths[1::2].any() else (None, NO_PIXEL)


def encode(segmentation: Segmentation, size: Size) -> Runs:
    """Return the run lengths of polygons or RLE that `read_segmentation` has read.

    Args:
        segmentation: the polygons or the RLE.
        size: (height, width) of the image.

    Returns:
        The run lengths: those of the RLE, or compressed ones.
    """
    if isinstance(segmentation, dict):
        counts: Runs = segmentation["counts"]
        return counts
    compressed: bytes = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))["counts"]
    return compressed


def run_lengths(runs: Runs, size: Size) -> np.ndarray:
    """Return run lengths as numbers, checked.

    Args:
        runs: numbers, or compressed as COCO does.
        size: (height, width) of the image.

    Returns:
        Runs down the columns, int64: pixels outside, inside, outside and so on.

    Raises:
        ValueError: if compressed runs are damaged, or the runs do not add up to the image.
    """
    if isinstance(runs, str | bytes):
        lengths = _decompressed(runs.encode("utf-8", "replace") if isinstance(runs, str) else runs)
    else:
        lengths = np.array(runs, np.int64)
    # The sum of many lengths may overflow, those of the pixels of an image do not.
    if lengths.size == 0 or lengths.min() < 0 or lengths.max() > size[0] * size[1]:
        raise ValueError(f"its runs do not add up to the {size[0] * size[1]} pixels of the image")
    if lengths.sum() != size[0] * size[1]:
        raise ValueError(f"its runs do not add up to the {size[0] * size[1]} pixels of the image")
    return lengths


def _decompressed(text: bytes) -> np.ndarray:
    """Return the numbers of compressed RLE: five bits a character, the lowest first, the sixth if more follow.

    From the fourth number on, each is the difference to the last but one.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
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
    points = polygon.reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _clip(polygon: Polygon, size: Size) -> Polygon:
    """Cut off what is further outside of the image than the image is large; other polygons stay as they are.

    COCO's code follows each edge pixel by pixel, however far from the image that is. (Sutherland and Hodgman, 1974)
    """
    height, width = size
    if polygon.min() >= -min(size) and polygon.max() <= 2 * min(size):
        return polygon
    clipped: Sequence[float] = polygon.tolist()
    for axis, sign, limit in ((0, 1, 2 * width), (0, -1, width), (1, 1, 2 * height), (1, -1, height)):
        distances = [sign * x - limit for x in clipped[axis::2]]  # how far each point is outside
        if not distances or max(distances) <= 0:
            continue
        points = list(zip(clipped[::2], clipped[1::2], distances, strict=True))
        kept: list[float] = []
        for (x, y, distance), (next_x, next_y, next_distance) in pairwise([*points, points[0]]):
            if distance <= 0:
                kept += (x, y)
            if (distance <= 0) != (next_distance <= 0):
                share = distance / (distance - next_distance)
                crossing = [x + share * (next_x - x), y + share * (next_y - y)]
                crossing[axis] = sign * limit
                kept += crossing
        clipped = kept
    return np.array(clipped, np.float64)

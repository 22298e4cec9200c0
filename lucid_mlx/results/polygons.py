"""Outlines of masks as polygons, from which the masks can be drawn again."""

from itertools import pairwise
from typing import Any

import contourpy
import numpy as np

from lucid_mlx.visualization.overlay import Box

Polygon = list[np.ndarray]  # the outer ring and then the holes, each (N, 2) float64: x, y


def mask_polygons(mask: np.ndarray, box: Box, tolerance: float = 0.0) -> list[Polygon]:
    """Trace the outlines of a mask.

    They run halfway between the centers of pixels inside and outside (marching squares), so that a center lies inside
    of a polygon exactly if its pixel lies in the mask. Pixels that touch at a corner alone are not connected. Outer
    rings are counterclockwise where y is drawn upwards, holes clockwise; rings neither cross nor touch. A polygon's
    area is its number of pixels less 0.5, and 0.5 more for each hole.

    Args:
        mask: (H, W) bool.
        box: (left, top, right, bottom) of the mask.
        tolerance: how far a simplified outline may be from the exact one, in pixels; 0 for the exact one. Simplified
            rings may cross.

    Returns:
        A polygon for each connected part. The corner of the image is (0, 0), the center of its first pixel (0.5, 0.5).
        The first point of a ring is not repeated at its end.
    """
    left, top, right, bottom = box
    padded = np.pad(mask[top:bottom, left:right], 1)
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.ChunkCombinedOffsetOffset)
    filled: Any = generator.filled(0.5, 2.0)  # typed as what any fill type returns
    (points,), (starts,), (polygons,) = filled
    if points is None:
        return []
    points, starts = _corners(points + np.array([left - 0.5, top - 0.5]), starts.astype(np.int64))
    rings = [points[start:end] for start, end in pairwise(starts.tolist())]
    if tolerance:
        rings = [simplified(ring, tolerance) for ring in rings]
    return [rings[start:end] for start, end in pairwise(polygons.tolist())]


def _corners(points: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the points on straight lines.

    Args:
        points: (N, 2), of all rings, each with its first point again at its end.
        starts: (R + 1,) int, where each ring begins, and N.

    Returns:
        The points, (n, 2), of which no ring repeats its first one, and where each ring begins, and n.
    """
    after = np.diff(points, axis=0, append=points[:1])
    before = np.roll(after, 1, axis=0)
    before[starts[:-1]] = after[starts[1:] - 2]
    kept = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    kept[starts[1:] - 1] = False
    return points[kept], np.append(0, np.cumsum(kept))[starts]


def simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Leave out points of a ring that are close to the line without them (Douglas and Peucker, 1973).

    Args:
        ring: (N, 2), three points or more.
        tolerance: how far they may be, in pixels.

    Returns:
        (n, 2), three points or more: where fewer would do, the third is the one that is furthest from the other two.
    """
    closed = np.concatenate([ring, ring[:1]])
    far = int(np.square(ring - ring[0]).sum(axis=1).argmax())
    kept = np.zeros(len(closed), bool)
    kept[[0, far]] = True
    waiting, third, most = [(0, far), (far, len(ring))], 0, -1.0
    while waiting:
        start, end = waiting.pop()
        if end - start < 2:
            continue
        distances = _distances(closed[start + 1 : end], closed[start], closed[end])
        furthest = int(distances.argmax())
        if distances[furthest] > most:
            third, most = start + 1 + furthest, distances[furthest]
        if distances[furthest] > tolerance:
            kept[start + 1 + furthest] = True
            waiting += (start, start + 1 + furthest), (start + 1 + furthest, end)
    kept[third] = True  # is kept already unless the whole ring is within the tolerance of a line
    return ring[kept[:-1]]


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the distances of points, (N, 2), from a line from start to end."""
    line = end - start
    length = float(line @ line)
    share = np.clip((points - start) @ line / length, 0.0, 1.0)[:, None]
    offset = points - start - share * line
    return np.hypot(offset[:, 0], offset[:, 1])

"""Segments as lines of text for YOLO's segmentation networks.

A line has one outline. Parts and holes are joined to it by lines of no width, there and back, as Ultralytics'
`merge_multi_segment` joins parts. Where such an outline is filled by the even-odd rule, as OpenCV's `fillPoly` does,
holes are empty.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from lucid_mlx.results.polygons import Polygon
from lucid_mlx.results.segment import Segment


def yolo_lines(segments: Sequence[Segment], polygons: Iterable[Sequence[Polygon]], size: tuple[int, ...]) -> str:
    """Return a line for each segment: the class id, and x and y of each point, from 0 to 1.

    Args:
        segments: the segments.
        polygons: of each segment, as `mask_polygons` makes them.
        size: (height, width) of the image.

    Returns:
        The text.
    """
    scale = np.array(size[::-1], np.float64)
    return "".join(
        f"{segment.label_id} {' '.join(f'{x:.6g}' for x in (one_outline(parts) / scale).ravel())}\n"
        for segment, parts in zip(segments, polygons, strict=True)
    )


def one_outline(polygons: Sequence[Polygon]) -> np.ndarray:
    """Join the rings of polygons.

    Args:
        polygons: one or more.

    Returns:
        (N, 2), one ring.
    """
    outlines = sorted((_joined(outer, holes) for outer, *holes in polygons), key=len, reverse=True)
    return _joined(outlines[0], outlines[1:])


def _joined(ring: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Join rings to a first one, each where it is nearest to that one."""
    if not others:
        return ring
    from scipy.spatial import cKDTree  # which takes long to import

    tree = cKDTree(ring)
    detours: list[tuple[int, np.ndarray]] = []
    for other in others:
        distances, nearest = (np.asarray(each) for each in tree.query(other))
        start = int(distances.argmin())
        around = np.roll(other, -start, axis=0)
        detours.append((int(nearest[start]), np.concatenate([around, around[:1]])))
    pieces, done = [], 0
    for place, detour in sorted(detours, key=lambda pair: pair[0]):
        pieces += [ring[done : place + 1], detour]
        done = place  # which comes again, as the end of the way back
    return np.concatenate([*pieces, ring[done:]])

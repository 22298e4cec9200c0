"""Segments over a photo: tinted and outlined."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from lucid_mlx.visualization.colors import Color

Box = tuple[int, int, int, int]

# A white line with smooth sides in a dark haze shows on any background. For each: the color; the radius of the blur
# in half line widths; how strong it is; and what is cut off before, so that the white stays narrow.
OUTLINE = (((0, 0, 0), 1.5, 1.0, 0), ((255, 255, 255), 0.5, 1.8, 50))


def present_ids(ids: np.ndarray) -> list[int]:
    """Return the ids in a map, ascending, without the negative ones."""
    return np.flatnonzero(np.bincount(np.maximum(ids, -1).ravel() + 1)[1:]).tolist()


def to_regions(ids: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Replace each id in a map by its place in `wanted`, and the others by -1.

    Args:
        ids: (H, W) int.
        wanted: ids of 0 or more, each once.

    Returns:
        (H, W) int32.
    """
    table = np.full(max(int(ids.max()), *wanted, 0) + 2, -1, np.int32)
    table[list(wanted)] = np.arange(len(wanted))
    return table[np.maximum(ids, -1)]  # -1 is the last entry


def boxes(ids: np.ndarray) -> dict[int, Box]:
    """Return the box of each number above 0 in a map, (H, W) int."""
    from scipy import ndimage  # which takes longer to import than all of this package

    found = enumerate(ndimage.find_objects(ids), 1)
    return {number: (part[1].start, part[0].start, part[1].stop, part[0].stop) for number, part in found if part}


def borders(regions: np.ndarray, reach: int) -> np.ndarray:
    """Mark the pixels within `reach` of another region, along their row or column."""
    edges = np.zeros(regions.shape, bool)
    for shift in range(1, 1 + reach):
        across, down = regions[:, :-shift] != regions[:, shift:], regions[:-shift] != regions[shift:]
        edges[:, :-shift] |= across
        edges[:, shift:] |= across
        edges[:-shift] |= down
        edges[shift:] |= down
    return edges


def overlay(
    image: np.ndarray, regions: np.ndarray, colors: Sequence[Color], edges: np.ndarray, width: int, opacity: float
) -> Image.Image:
    """Blend each segment with its color, photo x (1 - opacity) + color x opacity, and draw lines.

    Args:
        image: (H, W, 3) uint8, RGB.
        regions: (H, W) int, the segment of each pixel; -1 where the photo stays as it is.
        colors: of the segments.
        edges: (H, W) bool, where the lines are.
        width: half the lines' width, in pixels.
        opacity: 0 to 1.
    """
    photo = Image.fromarray(image)
    table = np.array([*colors, (0, 0, 0)], np.uint8)  # the last row is that of -1
    picture = Image.blend(photo, Image.fromarray(table[regions]), opacity)
    lines = Image.fromarray(edges.astype(np.uint8) * 255)
    for color, radius, strength, cut in OUTLINE:
        soft = lines.filter(ImageFilter.BoxBlur(radius * width))
        ramp = [min(255, max(0, round(strength * (value - cut)))) for value in range(256)]
        picture.paste(color, mask=soft.point(ramp))
    void = regions < 0
    if void.any():
        picture.paste(photo, mask=Image.fromarray(void))
    return picture

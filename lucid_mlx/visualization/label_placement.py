"""Where the names of segments go: inside of them, where they have most room, never over each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from lucid_mlx.visualization.colors import Color, text_color
from lucid_mlx.visualization.fonts import font
from lucid_mlx.visualization.overlay import borders

GRID = 512  # longer side of the map on which places are looked for
ASPECT = 3.0  # width over height of the ellipse that must have room: text is wider than high
SIDE, HALF_LINE = 0.35, 0.65  # from the text's end, and from its middle line, to the rim of its plate, in font sizes
LEAST = 0.72  # of the picture's font size: how small a label may be
SPILL = 1.4  # how much larger than its room a label of that size may be
MARGIN = 2  # pixels around a plate

Box = tuple[int, int, int, int]
Words = tuple[str, str]  # a text and the name of its font


@dataclass(frozen=True)
class Label:
    """A text in its place.

    Attributes:
        segment: which segment it names.
        text: what to write.
        font: the name of its font, as `fonts.font` takes it.
        size: of the font, in pixels.
        box: left, top, right and bottom of the plate behind the text, in pixels; right and bottom are outside.
    """

    segment: int
    text: str
    font: str
    size: int
    box: Box


def place_labels(regions: np.ndarray, texts: Sequence[Sequence[Words]], size: int) -> list[Label]:
    """Find places for the names of segments; larger segments choose first, and those without room have none.

    A name stands in the middle of the largest ellipse of a text's shape that fits into its segment.

    Args:
        regions: (H, W) int, the segment of each pixel; -1 where there is none.
        texts: for each segment what can be written, best first.
        size: the largest font size, in pixels.

    Returns:
        The labels, within the picture and apart from each other.
    """
    from scipy import ndimage  # which takes longer to import than all of this package

    height, width = regions.shape
    step = -(-max(height, width) // GRID)
    top, left = min(step, height) // 2, min(step, width) // 2
    coarse = regions[top::step, left::step]
    # One transform serves all segments, as each ends at a border.
    inside = np.pad(~borders(coarse, 1), 1)
    depth = ndimage.distance_transform_edt(inside, sampling=(1.0, 1 / ASPECT))[1:-1, 1:-1] * step
    areas = np.bincount(coarse[coarse >= 0], minlength=len(texts))
    parts = ndimage.find_objects(coarse.astype(np.int32) + 1, max_label=len(texts))
    placed: list[Label] = []
    for segment in np.argsort(-areas, kind="stable"):
        if areas[segment] == 0:
            break
        part = parts[segment]
        own = coarse[part] == segment
        room = np.where(own, depth[part], 0.0)
        if room.max() * SPILL < LEAST * size * HALF_LINE:
            continue
        # Of places about as good, such as those along a road, the one nearest to the middle of the segment's piece.
        pieces = ndimage.label(own)[0]
        piece = pieces == pieces.flat[room.argmax()]
        good = np.argwhere(piece & (room >= 0.95 * room.max()))
        row, column = good[np.argmin(np.hypot(*(good - np.argwhere(piece).mean(axis=0)).T))]
        center = (left + step * int(part[1].start + column), top + step * int(part[0].start + row))
        label = _fit(int(segment), texts[segment], size, center, float(room[row, column]), (width, height), placed)
        if label is not None:
            placed.append(label)
    return placed


def _fit(
    segment: int,
    texts: Sequence[Words],
    size: int,
    center: tuple[int, int],
    room: float,
    picture: tuple[int, int],
    placed: Sequence[Label],
) -> Label | None:
    """Find the first text, in the largest size, that has the room and is free of the labels placed already."""
    least = max(10, round(LEAST * size))
    for text, name in texts:
        half_width = font(name, size).getlength(text) / (2 * size) + SIDE
        fitting = room / math.hypot(half_width / ASPECT, HALF_LINE)
        if not text or fitting * SPILL < least:
            continue
        for chosen in range(int(min(max(fitting, least), size)), least - 1, -max(1, size // 12)):
            sides = (
                math.ceil(font(name, chosen).getlength(text)) + 2 * round(SIDE * chosen),
                2 * round(HALF_LINE * chosen),
            )
            if any(side + 2 * MARGIN > limit for side, limit in zip(sides, picture, strict=True)):
                continue
            x, y = (
                min(max(middle - side // 2, MARGIN), limit - side - MARGIN)
                for middle, side, limit in zip(center, sides, picture, strict=True)
            )
            box = (x, y, x + sides[0], y + sides[1])
            if all(_apart(box, other.box) for other in placed):
                return Label(segment, text, name, chosen, box)
    return None


def _apart(one: Box, other: Box) -> bool:
    return (
        one[0] >= other[2] + MARGIN
        or other[0] >= one[2] + MARGIN
        or one[1] >= other[3] + MARGIN
        or other[1] >= one[3] + MARGIN
    )


def draw_labels(picture: Image.Image, labels: Sequence[Label], colors: Sequence[Color]) -> None:
    """Write labels on plates of their segments' colors."""
    draw = ImageDraw.Draw(picture)
    for label in labels:
        left, top, right, bottom = label.box
        color = colors[label.segment]
        draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius=(bottom - top) / 4, fill=color)
        middle = ((left + right) / 2, (top + bottom) / 2)
        draw.text(middle, label.text, fill=text_color(color), font=font(label.font, label.size), anchor="mm")

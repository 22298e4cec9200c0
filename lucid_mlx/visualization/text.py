"""Text in images: fonts with the needed glyphs, labels inside of segments, a legend, a title."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lucid_mlx.visualization.colors import Color, text_color
from lucid_mlx.visualization.overlay import Box, find_boundaries

# Pillow's own font has only Latin letters. These, which Pillow looks for in the system's folders, have other scripts.
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",  # macOS
    "Hiragino Sans GB.ttc",  # macOS
    "AppleSDGothicNeo.ttc",  # macOS
)
PILLOW_FONT = ""  # the name of Pillow's own font here
NONCHARACTER = "\U0010ffff"  # no font has a glyph for it

Font = ImageFont.FreeTypeFont
TextAndFont = tuple[str, str]  # a text and the name of its font

# Labels of segments.
GRID_SIZE = 512  # longer side of the reduced map in which positions are searched
TEXT_ASPECT_RATIO = 3.0  # width / height of the ellipse that must fit into a segment: text is wider than high
PADDING = 0.35  # font sizes between the ends of the text and the ends of its background
HALF_HEIGHT = 0.65  # font sizes from the middle of the text to the edge of its background
MIN_FONT_SCALE = 0.72  # smallest font size of a label, relative to the image's font size
MAX_OVERFLOW = 1.4  # a label of that size may exceed the ellipse by this factor
MARGIN = 2  # pixels around the background of a label

# The legend and the title.
LINE_HEIGHT = 1.5  # font sizes
MAX_NAME_WIDTH = 14  # font sizes; longer names are truncated
TALL_ASPECT_RATIO = 1.3  # an image with more than this height / width has its legend beside it, not below
MIN_TOTAL_WIDTH = 480  # pixels, of a tall image and its legend
FRACTION_COLOR = (110, 110, 110)
TITLE_BACKGROUND = (140, 20, 20)


@lru_cache(maxsize=256)
def load_font(name: str, size: int) -> Font:
    """Load a font.

    Args:
        name: one of `SYSTEM_FONTS`, or `PILLOW_FONT`.
        size: in pixels.

    Returns:
        The font.

    Raises:
        OSError: if the system does not have it.
    """
    if name != PILLOW_FONT:
        return ImageFont.truetype(name, size)
    font = ImageFont.load_default(size)
    assert isinstance(font, Font)  # Pillow without FreeType has a bitmap font, which cannot be scaled
    return font


@lru_cache(maxsize=4096)
def renderable(text: str, fallback: str) -> TextAndFont:
    """Find a font that has all glyphs of a text; if there is none, change the text as little as possible.

    Args:
        text: in any script.
        fallback: an ASCII text, which is used if no font has the script.

    Returns:
        The text, or the text without accents, or the fallback; and the name of the font.
    """
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    for name in (PILLOW_FONT, *SYSTEM_FONTS):
        if _has_glyphs(name, line):
            return line, name
    characters = unicodedata.normalize("NFKD", line)
    plain = "".join(character for character in characters if not unicodedata.combining(character))
    return (plain if _has_glyphs(PILLOW_FONT, plain) else fallback), PILLOW_FONT


def _has_glyphs(name: str, text: str) -> bool:
    if not text.isprintable():
        return False
    try:
        missing = _glyph(name, NONCHARACTER)
    except OSError:
        return False
    return all(character == " " or _glyph(name, character) != missing for character in text)


@lru_cache(maxsize=4096)
def _glyph(name: str, character: str) -> tuple[tuple[int, int], bytes]:
    mask = load_font(name, 24).getmask(character)
    return mask.size, bytes(mask)


@dataclass(frozen=True)
class TextLabel:
    """The label of a segment at its position in the image.

    Attributes:
        segment: index of the segment.
        text: the text.
        font: name of its font, for `load_font`.
        size: font size in pixels.
        box: (left, top, right, bottom) of the background, in pixels, right and bottom exclusive.
    """

    segment: int
    text: str
    font: str
    size: int
    box: Box


class IndexMap(Protocol):
    """What `place_labels` reads: an array, or what makes parts of one when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W)."""

    def __getitem__(self, part: tuple[slice, slice], /) -> np.ndarray:
        """A part of it."""


def place_labels(index_map: IndexMap, texts: Sequence[Sequence[TextAndFont]], size: int) -> list[TextLabel]:
    """Find positions for the labels of segments. Larger segments come first; a segment without space has no label.

    A label is in the center of the largest ellipse, with the aspect ratio of text, that fits into its segment.

    Args:
        index_map: (H, W) int, the index of each pixel's segment; -1 for no segment.
        texts: for each segment the possible texts, preferred first.
        size: largest font size, in pixels.

    Returns:
        The labels. They are inside the image and do not overlap.
    """
    from scipy import ndimage  # which takes longer to import than all of this package

    height, width = index_map.shape
    step = -(-max(height, width) // GRID_SIZE)
    top, left = min(step, height) // 2, min(step, width) // 2
    grid = index_map[top::step, left::step]
    # One distance transform is enough for all segments, as each of them ends at a boundary.
    inside = np.pad(~find_boundaries(grid, 1), 1)
    distances = ndimage.distance_transform_edt(inside, sampling=(1.0, 1 / TEXT_ASPECT_RATIO))[1:-1, 1:-1] * step
    areas = np.bincount(grid[grid >= 0], minlength=len(texts))
    crops = ndimage.find_objects(grid.astype(np.int32) + 1, max_label=len(texts))
    placed: list[TextLabel] = []
    for segment in np.argsort(-areas, kind="stable"):
        if areas[segment] == 0:
            break
        crop = crops[segment]
        mask = grid[crop] == segment
        radii = np.where(mask, distances[crop], 0.0)  # of the ellipses around each pixel: half their height
        if radii.max() * MAX_OVERFLOW < MIN_FONT_SCALE * size * HALF_HEIGHT:
            continue
        # Of positions that are about as good, as along a road, take the one nearest to the center of the component.
        components = ndimage.label(mask)[0]
        component = components == components.flat[radii.argmax()]
        candidates = np.argwhere(component & (radii >= 0.95 * radii.max()))
        row, column = candidates[np.argmin(np.hypot(*(candidates - np.argwhere(component).mean(axis=0)).T))]
        center = (left + step * int(crop[1].start + column), top + step * int(crop[0].start + row))
        radius = float(radii[row, column])
        label = _fit_label(int(segment), texts[segment], size, center, radius, (width, height), placed)
        if label is not None:
            placed.append(label)
    return placed


def _fit_label(
    segment: int,
    texts: Sequence[TextAndFont],
    size: int,
    center: tuple[int, int],
    radius: float,
    image_size: tuple[int, int],
    placed: Sequence[TextLabel],
) -> TextLabel | None:
    """Return the first text, in the largest size, that fits and does not overlap a label that is already placed."""
    min_size = max(10, round(MIN_FONT_SCALE * size))
    for text, font_name in texts:
        half_width = load_font(font_name, size).getlength(text) / (2 * size) + PADDING
        fitting_size = radius / math.hypot(half_width / TEXT_ASPECT_RATIO, HALF_HEIGHT)
        if not text or fitting_size * MAX_OVERFLOW < min_size:
            continue
        for font_size in range(int(min(max(fitting_size, min_size), size)), min_size - 1, -max(1, size // 12)):
            sides = (
                math.ceil(load_font(font_name, font_size).getlength(text)) + 2 * round(PADDING * font_size),
                2 * round(HALF_HEIGHT * font_size),
            )
            if any(side + 2 * MARGIN > limit for side, limit in zip(sides, image_size, strict=True)):
                continue
            x, y = (
                min(max(middle - side // 2, MARGIN), limit - side - MARGIN)
                for middle, side, limit in zip(center, sides, image_size, strict=True)
            )
            box = (x, y, x + sides[0], y + sides[1])
            if not any(_overlap(box, other.box) for other in placed):
                return TextLabel(segment, text, font_name, font_size, box)
    return None


def _overlap(one: Box, other: Box) -> bool:
    """Return whether the space between two boxes is less than `MARGIN`."""
    return (
        one[0] < other[2] + MARGIN
        and other[0] < one[2] + MARGIN
        and one[1] < other[3] + MARGIN
        and other[1] < one[3] + MARGIN
    )


def draw_labels(image: Image.Image, labels: Sequence[TextLabel], colors: Sequence[Color]) -> None:
    """Draw labels into an image, each on a background of its segment's color.

    Args:
        image: an RGB image.
        labels: what `place_labels` returned.
        colors: (red, green, blue) of each segment.
    """
    draw = ImageDraw.Draw(image)
    for label in labels:
        left, top, right, bottom = label.box
        color = colors[label.segment]
        draw.rounded_rectangle((left, top, right - 1, bottom - 1), radius=(bottom - top) / 4, fill=color)
        middle = ((left + right) / 2, (top + bottom) / 2)
        draw.text(middle, label.text, fill=text_color(color), font=load_font(label.font, label.size), anchor="mm")


@dataclass(frozen=True)
class LegendEntry:
    """A line of a legend.

    Attributes:
        color: of the class.
        name: of the class.
        font: name of the font for the class's name.
        fraction: of the image that the class covers, 0 to 1.
    """

    color: Color
    name: str
    font: str
    fraction: float


def add_legend(image: Image.Image, entries: Sequence[LegendEntry], size: int) -> Image.Image:
    """Add a legend in columns below an image, or beside an image that is much higher than wide.

    Args:
        image: an RGB image.
        entries: the lines of the legend.
        size: font size in pixels.

    Returns:
        A larger RGB image; the same one if there are no entries.
    """
    if not entries:
        return image
    beside = is_tall(image.size)
    return concatenate([image, draw_legend(image.size, entries, size)], horizontal=beside)


def is_tall(size: tuple[int, int]) -> bool:
    """Return whether an image of a size, (width, height), has its legend beside it."""
    return size[1] > TALL_ASPECT_RATIO * size[0]


def draw_legend(image_size: tuple[int, int], entries: Sequence[LegendEntry], size: int) -> Image.Image:
    """Draw a legend in columns.

    Args:
        image_size: (width, height) of the image that it is for.
        entries: the lines of the legend, at least one.
        size: font size in pixels.

    Returns:
        An RGB image.
    """
    names = [_truncate(entry.name, load_font(entry.font, size)) for entry in entries]
    percents = [f"{entry.fraction:.1%}" if entry.fraction >= 0.001 else "< 0.1%" for entry in entries]
    # Of each entry: where the percentage starts, and the whole width.
    starts = [
        2 * size + load_font(entry.font, size).getlength(name) for entry, name in zip(entries, names, strict=True)
    ]
    own_font = load_font(PILLOW_FONT, size)
    ends = [start + own_font.getlength(percent) + 1.5 * size for start, percent in zip(starts, percents, strict=True)]
    line_height = round(LINE_HEIGHT * size)
    beside = is_tall(image_size)
    rows = max(1, image_size[1] // line_height - 1) if beside else _legend_rows(ends, image_size[0] - size)
    columns = [range(first, min(first + rows, len(entries))) for first in range(0, len(entries), rows)]
    column_widths = [math.ceil(max(ends[index] for index in column)) for column in columns]
    width = max(size + sum(column_widths), MIN_TOTAL_WIDTH - image_size[0] if beside else 0)
    legend = Image.new("RGB", (width, (len(columns[0]) + 1) * line_height), "white")
    draw = ImageDraw.Draw(legend)
    for x, column in zip(accumulate(column_widths, initial=size), columns, strict=False):
        for row, index in enumerate(column):
            entry, y = entries[index], (row + 1) * line_height
            draw.rounded_rectangle((x, y - size / 2, x + size, y + size / 2), radius=size / 5, fill=entry.color)
            draw.text((x + 1.5 * size, y), names[index], fill="black", font=load_font(entry.font, size), anchor="lm")
            draw.text((x + starts[index], y), percents[index], fill=FRACTION_COLOR, font=own_font, anchor="lm")
    return legend


def _legend_rows(widths: Sequence[float], available: float) -> int:
    """Return the smallest number of rows with which the columns fit into the available width, else one column."""
    for rows in range(1, len(widths)):
        if sum(max(widths[first : first + rows]) for first in range(0, len(widths), rows)) <= available:
            return rows
    return len(widths)


def _truncate(text: str, font: Font) -> str:
    if font.getlength(text) <= MAX_NAME_WIDTH * font.size:
        return text
    while font.getlength(text + "...") > MAX_NAME_WIDTH * font.size:
        text = text[:-1]
    return text + "..."


def add_title(image: Image.Image, title: str, size: int) -> Image.Image:
    """Add a line of text above an image.

    Args:
        image: an RGB image.
        title: the text.
        size: font size in pixels.

    Returns:
        A larger RGB image.
    """
    text, font_name = renderable(title, "?")
    font = load_font(font_name, size)
    width = max(image.width, math.ceil(font.getlength(text)) + size)
    banner = Image.new("RGB", (width, round(1.8 * size)), TITLE_BACKGROUND)
    ImageDraw.Draw(banner).text((size / 2, banner.height / 2), text, fill="white", font=font, anchor="lm")
    return concatenate([banner, image], horizontal=False)


def concatenate(images: Sequence[Image.Image], horizontal: bool, gap: int = 0) -> Image.Image:
    """Put images beside each other or below each other, on white.

    Args:
        images: RGB images of any sizes.
        horizontal: beside each other if True, below each other if False.
        gap: space between two images, in pixels.

    Returns:
        An RGB image of all.
    """
    widths, heights = [image.width for image in images], [image.height for image in images]
    space = gap * (len(images) - 1)
    size = (sum(widths) + space, max(heights)) if horizontal else (max(widths), sum(heights) + space)
    canvas, position = Image.new("RGB", size, "white"), 0
    for image in images:
        canvas.paste(image, (position, 0) if horizontal else (0, position))
        position += (image.width if horizontal else image.height) + gap
    return canvas

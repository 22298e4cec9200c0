"""Text in pictures: a font that has the glyphs, names inside of segments, a legend beside them."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lucid_mlx.visualization.colors import Color, text_color
from lucid_mlx.visualization.overlay import Box, borders

# Pillow's own font has the letters of English; these, which Pillow looks for in the system's folders, have others.
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",  # macOS
    "Hiragino Sans GB.ttc",  # macOS
    "AppleSDGothicNeo.ttc",  # macOS
)
OWN = ""  # Pillow's own font
NO_CHARACTER = "\U0010ffff"  # no font has a glyph for it

Font = ImageFont.FreeTypeFont

# Names of segments.
GRID = 512  # longer side of the map on which places are looked for
ASPECT = 3.0  # width over height of the ellipse that must have room: text is wider than high
SIDE, HALF_LINE = 0.35, 0.65  # from the text's end, and from its middle line, to the rim of its plate, in font sizes
LEAST = 0.72  # of the picture's font size: how small a label may be
SPILL = 1.4  # how much larger than its room a label of that size may be
MARGIN = 2  # pixels around a plate

Words = tuple[str, str]  # a text and the name of its font

# The legend.
LINE = 1.5  # of the legend, in font sizes
LONGEST = 14  # font sizes; longer names in the legend are cut
TALL = 1.3  # height over width of a picture that has its legend beside it
NARROWEST = 480  # pixels across, of a high picture and its legend
GRAY = (110, 110, 110)
NOTE = (140, 20, 20)


@lru_cache(maxsize=256)
def font(name: str, size: int) -> Font:
    """Open a font in a size in pixels: Pillow's own, or one of `SYSTEM_FONTS`.

    Raises:
        OSError: if the system lacks it.
    """
    if name != OWN:
        return ImageFont.truetype(name, size)
    own = ImageFont.load_default(size)
    assert isinstance(own, Font)  # the bitmap font of a Pillow without FreeType has no sizes
    return own


@lru_cache(maxsize=4096)
def readable(text: str, otherwise: str) -> tuple[str, str]:
    """Find a text, as close to the given as possible, and the name of a font that has all its glyphs.

    Args:
        text: in any script.
        otherwise: in ASCII; taken if no font has the script.

    Returns:
        The text, or it without accents, or `otherwise`; and the font's name.
    """
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    for name in (OWN, *SYSTEM_FONTS):
        if _has(name, line):
            return line, name
    plain = "".join(part for part in unicodedata.normalize("NFKD", line) if not unicodedata.combining(part))
    return (plain, OWN) if _has(OWN, plain) else (otherwise, OWN)


def _has(name: str, text: str) -> bool:
    if not text.isprintable():
        return False
    try:
        missing = _glyph(name, NO_CHARACTER)
    except OSError:
        return False
    return all(part == " " or _glyph(name, part) != missing for part in text)


@lru_cache(maxsize=4096)
def _glyph(name: str, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font(name, 24).getmask(character)
    return mask.size, bytes(mask)


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


@dataclass(frozen=True)
class Entry:
    """A line of a legend: a class's color, its name, the name's font, and its share of the picture, 0 to 1."""

    color: Color
    name: str
    font: str
    share: float


def with_legend(picture: Image.Image, entries: Sequence[Entry], size: int) -> Image.Image:
    """Put a legend in columns below a picture, or beside one that is much higher than wide."""
    if not entries:
        return picture
    names = [_cut(entry.name, font(entry.font, size)) for entry in entries]
    shares = [f"{entry.share:.1%}" if entry.share >= 0.001 else "< 0.1%" for entry in entries]
    starts = [2 * size + font(entry.font, size).getlength(name) for entry, name in zip(entries, names, strict=True)]
    ends = [start + font(OWN, size).getlength(share) + 1.5 * size for start, share in zip(starts, shares, strict=True)]
    line = round(LINE * size)
    beside = picture.height > TALL * picture.width
    rows = max(1, picture.height // line - 1) if beside else _rows(ends, picture.width - size)
    columns = [range(first, min(first + rows, len(entries))) for first in range(0, len(entries), rows)]
    widths = [math.ceil(max(ends[place] for place in column)) for column in columns]
    width = max(size + sum(widths), NARROWEST - picture.width if beside else 0)
    legend = Image.new("RGB", (width, (len(columns[0]) + 1) * line), "white")
    draw = ImageDraw.Draw(legend)
    for x, column in zip(accumulate(widths, initial=size), columns, strict=False):
        for row, place in enumerate(column):
            entry, y = entries[place], (row + 1) * line
            draw.rounded_rectangle((x, y - size / 2, x + size, y + size / 2), radius=size / 5, fill=entry.color)
            draw.text((x + 1.5 * size, y), names[place], fill="black", font=font(entry.font, size), anchor="lm")
            draw.text((x + starts[place], y), shares[place], fill=GRAY, font=font(OWN, size), anchor="lm")
    return joined([picture, legend], across=beside)


def _rows(widths: Sequence[float], room: float) -> int:
    """Find the fewest rows in which entries, column by column, have room beside each other; or one column."""
    for rows in range(1, len(widths)):
        if sum(max(widths[first : first + rows]) for first in range(0, len(widths), rows)) <= room:
            return rows
    return len(widths)


def _cut(text: str, own: Font) -> str:
    if own.getlength(text) <= LONGEST * own.size:
        return text
    while own.getlength(text + "...") > LONGEST * own.size:
        text = text[:-1]
    return text + "..."


def with_note(picture: Image.Image, note: str, size: int) -> Image.Image:
    """Put a line of text above a picture."""
    text, name = readable(note, "?")
    length = math.ceil(font(name, size).getlength(text)) + size
    banner = Image.new("RGB", (max(picture.width, length), round(1.8 * size)), NOTE)
    ImageDraw.Draw(banner).text((size / 2, banner.height / 2), text, fill="white", font=font(name, size), anchor="lm")
    return joined([banner, picture], across=False)


def joined(pictures: Sequence[Image.Image], across: bool, gap: int = 0) -> Image.Image:
    """Put pictures beside each other or, if not `across`, below each other, on white."""
    widths, heights = [part.width for part in pictures], [part.height for part in pictures]
    space = gap * (len(pictures) - 1)
    size = (sum(widths) + space, max(heights)) if across else (max(widths), sum(heights) + space)
    canvas, place = Image.new("RGB", size, "white"), 0
    for part in pictures:
        canvas.paste(part, (place, 0) if across else (0, place))
        place += (part.width if across else part.height) + gap
    return canvas

"""What stands around a picture: a legend, a note, the photo."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from PIL import Image, ImageDraw

from lucid_mlx.visualization.colors import Color
from lucid_mlx.visualization.fonts import OWN, Font, font, readable

LINE = 1.5  # of the legend, in font sizes
LONGEST = 14  # font sizes; longer names in the legend are cut
TALL = 1.3  # height over width of a picture that has its legend beside it
NARROWEST = 480  # pixels across, of a high picture and its legend
GRAY = (110, 110, 110)
NOTE = (140, 20, 20)


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

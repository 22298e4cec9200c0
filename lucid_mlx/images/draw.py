"""Pictures of results: the photo with its classes tinted, outlined, named, and listed in a legend."""

import colorsys
import math
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SMALLEST = 480  # longer side of a picture; smaller photos are enlarged so that text fits
LABEL_GRID = 512  # longer side of the map on which places for labels are looked for
LISTED = 12  # classes in the legend


def draw_semantic(
    image: np.ndarray, classes: np.ndarray, names: Mapping[int, str], note: str | None = None
) -> Image.Image:
    """Draw a semantic map over its photo, with a legend below.

    Args:
        image: (H, W, 3) uint8, RGB.
        classes: (H, W) int, the class of each pixel.
        names: the classes' names.
        note: one line to print above, if any.

    Returns:
        An RGB picture; a photo with a longer side under 480 pixels is enlarged.
    """
    factor = max(1, -(-SMALLEST // max(classes.shape)))
    image, classes = (np.repeat(np.repeat(x, factor, axis=0), factor, axis=1) for x in (image, classes))
    present, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    present, shares = present[order], counts[order] / classes.size

    palette = np.zeros((int(present.max()) + 1, 3), np.uint8)
    for number in present:
        palette[number] = class_colour(int(number))
    tinted = image // 2 + palette[classes] // 2
    tinted[_outlines(classes)] = 255
    picture = Image.fromarray(tinted)

    # Of the square with the photo's area, so that a long narrow one has no huge letters.
    font = _font(max(13, round(min(math.sqrt(classes.size), 2400) / 34)))
    _name_segments(picture, classes, {int(n): names.get(int(n), str(n)) for n in present}, font)
    legend = [
        (class_colour(int(number)), f"{names.get(int(number), number)}  {_percent(share)}")
        for number, share in zip(present[:LISTED], shares[:LISTED], strict=True)
    ]
    if len(present) > LISTED:
        legend.append(((255, 255, 255), f"and {len(present) - LISTED} more"))
    parts = [picture, _legend(legend, picture.width, font)]
    return _stack([_banner(note, picture.width, font), *parts] if note else parts)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # the bitmap font of a Pillow without FreeType has no sizes
    return font


def class_colour(number: int) -> tuple[int, int, int]:
    """Return a class's colour as 8-bit RGB: hues a golden angle apart, lightness in three steps."""
    hue = (number * 0.61803398875 + 0.58) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.5, 0.36, 0.66)[number % 3], 0.8)
    return (round(red * 255), round(green * 255), round(blue * 255))


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _outlines(classes: np.ndarray) -> np.ndarray:
    """Mark the pixels along the borders between classes, in lines that grow with the picture."""
    edges = np.zeros(classes.shape, bool)
    for reach in range(1, 1 + max(1, round(math.sqrt(classes.size) / 1000))):
        edges[:, :-reach] |= classes[:, :-reach] != classes[:, reach:]
        edges[:-reach] |= classes[:-reach] != classes[reach:]
    return edges


def _name_segments(
    picture: Image.Image, classes: np.ndarray, names: Mapping[int, str], font: ImageFont.FreeTypeFont
) -> None:
    """Write each class's name where the class has most room, if it has room and no other name is there."""
    step = -(-max(classes.shape) // LABEL_GRID)
    coarse = classes[::step, ::step]
    draw = ImageDraw.Draw(picture)
    taken: list[tuple[float, float, float, float]] = []
    for number, name in names.items():
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font, anchor="mm")
        half_width, half_height = (right - left) / 2, (bottom - top) / 2
        regions, count = ndimage.label(coarse == number)
        if count == 0:
            continue
        largest = regions == 1 + np.argmax(np.bincount(regions.ravel())[1:])
        depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1] * step
        row, column = (int(place) for place in np.unravel_index(np.argmax(depth), depth.shape))
        fits = 2 * half_width < picture.width and 2 * half_height < picture.height
        room = depth[row, column] >= 1.5 * half_height and largest.sum() * step**2 >= 6 * half_width * half_height
        if not (fits and room):
            continue
        x = min(max(column * step, half_width + 3), picture.width - half_width - 3)
        y = min(max(row * step, half_height + 3), picture.height - half_height - 3)
        box = (x - half_width, y - half_height, x + half_width, y + half_height)
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            continue
        taken.append(box)
        stroke = max(1, round(half_height / 4))
        draw.text((x, y), name, fill="white", font=font, anchor="mm", stroke_width=stroke, stroke_fill="black")


def _legend(entries: list[tuple[tuple[int, int, int], str]], width: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    line = round(font.size * 1.5)
    width = max(width, SMALLEST)
    places, x, y = [], line // 2, line // 3
    for colour, text in entries:
        needed = line + round(font.getlength(text)) + line
        if x + needed > width and x > line // 2:
            x, y = line // 2, y + line
        places.append((x, y, colour, text))
        x += needed
    legend = Image.new("RGB", (width, y + line + line // 3), "white")
    draw = ImageDraw.Draw(legend)
    for left, top, colour, text in places:
        side = round(font.size)
        draw.rectangle((left, top + (line - side) // 2, left + side, top + (line + side) // 2), fill=colour)
        draw.text((left + line, top + line // 2), text, fill="black", font=font, anchor="lm")
    return legend


def _banner(note: str, width: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    width = max(width, round(font.getlength(note) + font.size))
    banner = Image.new("RGB", (width, round(font.size * 1.8)), (140, 20, 20))
    ImageDraw.Draw(banner).text((font.size / 2, banner.height / 2), note, fill="white", font=font, anchor="lm")
    return banner


def _stack(parts: list[Image.Image]) -> Image.Image:
    """Put pictures below each other, left-aligned on white."""
    canvas = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    y = 0
    for part in parts:
        canvas.paste(part, (0, y))
        y += part.height
    return canvas

"""A color for each class: by its name the same in every model, and told apart by color-blind people too."""

import colorsys
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count

import numpy as np

from lucid_mlx.datasets import dataset_classes, find_dataset
from lucid_mlx.errors import InputError

Color = tuple[int, int, int]

# Found by annealing: twenty vivid colors (OKLab lightness 0.47 to 0.91, chroma above 0.1) whose closest two are as
# far apart as possible, at once in normal vision (0.126 in OKLab) and in simulated protanopia, deuteranopia and
# tritanopia (0.085; the palette of Okabe and Ito, with seven colors, has 0.076). More colors would be closer.
# Neighbors in the list are far apart (0.14), because a class whose color is taken moves to the next one.
SAFE: tuple[Color, ...] = (
    (161, 86, 114), (68, 0, 251), (9, 255, 246), (255, 114, 160), (125, 144, 0),
    (228, 232, 152), (125, 18, 189), (47, 127, 255), (131, 208, 255), (195, 164, 70),
    (0, 121, 169), (197, 0, 0), (253, 174, 147), (161, 152, 255), (31, 108, 50),
    (169, 255, 0), (207, 59, 207), (160, 0, 117), (177, 207, 0), (16, 180, 193),
)  # fmt: skip

BRIGHTNESS = (0.2, 0.88)  # of the shades of a color, from dark to light
GOLDEN = 0.61803398875  # its multiples, modulo 1, stay far from each other
LUMA = (0.299, 0.587, 0.114)  # red's, green's and blue's part in brightness: ITU-R BT.601


def palette(labels: Mapping[int, str], dataset: str | None = None) -> np.ndarray:
    """Return the colors of a model's classes.

    The names decide, not their numbers or their order: each has its color among twenty that stay apart for
    color-blind people. A name moves to another only if one of the other `labels` has the same and comes first, so up
    to twenty classes differ; of more, several share a color. If the names are those of a dataset, they have that
    dataset's own colors instead.

    Args:
        labels: the names of the classes.
        dataset: one of `lucid_mlx.datasets.DATASETS`; the classes that it has are given its colors.

    Returns:
        (K, 3) uint8, RGB, a row for each class up to the highest in `labels`; black where there is no name.

    Raises:
        InputError: if there is no such dataset, it has none of the classes, or a class is negative.
    """
    if min(labels, default=0) < 0:
        raise InputError(f"the classes in labels must be 0 or more, got {min(labels)}")
    colors = np.zeros((max(labels, default=-1) + 1, 3), np.uint8)
    for number, color in class_colors(labels, labels, dataset).items():
        colors[number] = color
    return colors


def class_colors(labels: Mapping[int, str], shown: Collection[int], dataset: str | None = None) -> dict[int, Color]:
    """Return the colors, as by `palette`, of the classes in a picture.

    If `labels` has more names than there are colors, only those in the picture move out of each other's way.
    """
    keys = {number: name.strip().casefold() for number, name in labels.items()}
    known = _dataset_colors(set(keys.values()), dataset)
    rivals = keys.values() if len(set(keys.values())) <= len(SAFE) else [keys[number] for number in shown]
    chosen = {**_distinct(rivals), **known}
    return {number: chosen[keys[number]] for number in shown}


def _dataset_colors(names: set[str], dataset: str | None) -> dict[str, Color]:
    """Return the colors of a dataset, or of that with just these names; none if there is none."""
    classes = find_dataset(names) if dataset is None else dataset_classes(dataset)
    colors = {entry.name.strip().casefold(): entry.color for entry in classes or ()}
    if dataset is not None and names and names.isdisjoint(colors):
        raise InputError(f"the dataset {dataset} has none of the labels; leave dataset out or name the right one")
    return colors


def _distinct(names: Iterable[str]) -> dict[str, Color]:
    """Give each name the color of its hash or, if a name with a lower hash has that already, the next free one."""
    # A CRC, because Python's own hash of a string changes from run to run.
    hashes = {name: zlib.crc32(name.encode("utf-8", "backslashreplace")) for name in names}
    free = [-(-len(hashes) // len(SAFE))] * len(SAFE)
    chosen: dict[str, Color] = {}

    def take(name: str, place: int) -> None:
        free[place] -= 1
        chosen[name] = SAFE[place]

    ranked = sorted(hashes, key=lambda name: (hashes[name], name))
    for name in ranked:
        if free[hashes[name] % len(SAFE)]:
            take(name, hashes[name] % len(SAFE))
    for name in ranked:
        if name not in chosen:
            steps = ((hashes[name] + step) % len(SAFE) for step in range(len(SAFE)))
            take(name, next(place for place in steps if free[place]))
    return chosen


def shade(color: Color, number: int) -> Color:
    """Return a class's color for its instance of that number: 0 has the color itself, others darker or lighter."""
    if number == 0:
        return color
    hue, _, saturation = colorsys.rgb_to_hls(*np.divide(color, 255))
    dark, light = BRIGHTNESS
    wanted = dark + (np.dot(LUMA, color) / 255 - dark + number * GOLDEN * (light - dark)) % (light - dark)
    # For one hue and saturation, brightness is linear in HLS's lightness from black to 0.5, and from there to white.
    half = np.dot(LUMA, colorsys.hls_to_rgb(hue, 0.5, saturation))
    lightness = 0.5 * wanted / half if wanted < half else 0.5 + 0.5 * (wanted - half) / (1 - half)
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation))
    return (red, green, blue)


def segment_colors(kinds: Sequence[int], base: Mapping[int, Color], shades: Sequence[int] | None = None) -> list[Color]:
    """Return the colors of segments: shades of their classes' colors.

    Args:
        kinds: the segments' classes.
        base: the classes' colors.
        shades: the number of each segment's shade, as `shade` takes it; None to count the segments of each class.
    """
    if shades is None:
        counts: dict[int, count[int]] = {kind: count() for kind in kinds}
        shades = [next(counts[kind]) for kind in kinds]
    return [shade(base[kind], number) for kind, number in zip(kinds, shades, strict=True)]


def text_color(background: Color) -> Color:
    """Return black or white, whichever is easier to read: contrast as WCAG 2 defines it is then at least 4.5."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in np.divide(background, 255)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)

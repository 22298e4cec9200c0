"""Class colors: a class name has the same color with every model, and color-blind people can distinguish the colors."""

import colorsys
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count

import numpy as np

from lucid_mlx.datasets import dataset_classes, find_dataset_classes
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_ID

Color = tuple[int, int, int]

# Twenty vivid colors (OKLab lightness 0.47 to 0.91, chroma above 0.1), found by simulated annealing: the smallest
# distance of two colors is maximal both in normal vision (0.126 in OKLab) and in simulated protanopia, deuteranopia
# and tritanopia (0.085; the palette of Okabe and Ito, seven colors, has 0.076). More colors would be closer together.
# Neighbors in the list are far apart (0.14), because a class whose color is taken gets the next one.
COLORBLIND_SAFE_COLORS: tuple[Color, ...] = (
    (161, 86, 114), (68, 0, 251), (9, 255, 246), (255, 114, 160), (125, 144, 0),
    (228, 232, 152), (125, 18, 189), (47, 127, 255), (131, 208, 255), (195, 164, 70),
    (0, 121, 169), (197, 0, 0), (253, 174, 147), (161, 152, 255), (31, 108, 50),
    (169, 255, 0), (207, 59, 207), (160, 0, 117), (177, 207, 0), (16, 180, 193),
)  # fmt: skip

LUMA_RANGE = (0.2, 0.88)  # of the shades of a color, from dark to light
GOLDEN_RATIO = 0.61803398875  # its multiples, modulo 1, are far apart
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def palette(labels: Mapping[int, str], dataset: str | None = None) -> np.ndarray:
    """Return the colors of a model's classes.

    A color depends on the name of the class, not on its id. There are twenty colors that color-blind people can
    distinguish. Up to twenty classes have different colors: if two names get the same color, one of them gets another.
    More classes share colors. If the names are exactly those of a dataset, that dataset's own colors are used.

    Args:
        labels: names of the classes, by class id.
        dataset: one of `lucid_mlx.datasets.DATASETS`. Classes of this dataset get the dataset's colors.

    Returns:
        (K, 3) uint8, RGB, a row for each class id up to the highest in `labels`; black where there is no name.

    Raises:
        InputError: if there is no such dataset, it has none of the classes, or a class id is negative.
    """
    check_labels(labels)
    colors = np.zeros((max(labels, default=-1) + 1, 3), np.uint8)
    for label_id, color in class_colors(labels, labels, dataset).items():
        colors[label_id] = color
    return colors


def check_labels(labels: Mapping[int, str]) -> None:
    """Check that labels are names by class id.

    Args:
        labels: to check.

    Raises:
        InputError: if they are not, or a class id is negative.
    """
    try:
        "".join(labels.values()).encode()
    except (AttributeError, TypeError, UnicodeEncodeError):
        raise InputError(f"labels must be names by class id, got {shown(labels)}") from None
    if not all(isinstance(key, int | np.integer) and 0 <= key <= MAX_ID for key in labels):
        raise InputError(f"the classes in labels must be whole numbers from 0 to {MAX_ID}, got {shown(list(labels))}")


def class_colors(
    labels: Mapping[int, str], present_ids: Collection[int], dataset: str | None = None
) -> dict[int, Color]:
    """Return the colors of the classes in an image.

    They are those of `palette`, except if `labels` has more names than there are colors: then only the classes in the
    image must differ.

    Args:
        labels: names of all classes, by class id.
        present_ids: ids of the classes in the image.
        dataset: one of `lucid_mlx.datasets.DATASETS`. Classes of this dataset get the dataset's colors.

    Returns:
        From class id to (red, green, blue), for the classes in the image.
    """
    keys = {label_id: name.strip().casefold() for label_id, name in labels.items()}
    fixed = _dataset_colors(set(keys.values()), dataset)
    names: Iterable[str] = keys.values()
    if len(set(names)) > len(COLORBLIND_SAFE_COLORS):
        names = [keys[label_id] for label_id in present_ids]
    colors = {**_distinct_colors(names), **fixed}
    return {label_id: colors[keys[label_id]] for label_id in present_ids}


def _dataset_colors(names: set[str], dataset: str | None) -> dict[str, Color]:
    """Return the colors of a dataset by class name; without one, of the dataset with exactly these names, if any."""
    classes = find_dataset_classes(names) if dataset is None else dataset_classes(dataset)
    colors = {entry.name.strip().casefold(): entry.color for entry in classes or ()}
    if dataset is not None and names and names.isdisjoint(colors):
        raise InputError(f"the dataset {dataset} has none of the labels; leave dataset out or name the right one")
    return colors


def _distinct_colors(names: Iterable[str]) -> dict[str, Color]:
    """Give each name the color of its hash, or the next free one if a name with a lower hash has that color."""
    # A CRC, because Python's own hash of a string changes from run to run.
    hashes = {name: zlib.crc32(name.encode("utf-8", "backslashreplace")) for name in names}
    size = len(COLORBLIND_SAFE_COLORS)
    free = [-(-len(hashes) // size)] * size  # how many more names each color can have
    colors: dict[str, Color] = {}

    def assign(name: str, index: int) -> None:
        free[index] -= 1
        colors[name] = COLORBLIND_SAFE_COLORS[index]

    ranked = sorted(hashes, key=lambda name: (hashes[name], name))
    for name in ranked:
        if free[hashes[name] % size]:
            assign(name, hashes[name] % size)
    for name in ranked:
        if name not in colors:
            candidates = ((hashes[name] + step) % size for step in range(size))
            assign(name, next(index for index in candidates if free[index]))
    return colors


def shade(color: Color, index: int) -> Color:
    """Return a shade of a class color, for an instance of the class.

    Args:
        color: (red, green, blue) of the class, 0 to 255.
        index: 0 for the color itself; other indices give darker or lighter shades.

    Returns:
        (red, green, blue), 0 to 255.
    """
    if index == 0:
        return color
    hue, _, saturation = colorsys.rgb_to_hls(*np.divide(color, 255))
    dark, light = LUMA_RANGE
    luma = dark + (np.dot(LUMA_WEIGHTS, color) / 255 - dark + index * GOLDEN_RATIO * (light - dark)) % (light - dark)
    # With hue and saturation fixed, luma is linear in HLS lightness from black to 0.5, and from there to white.
    half = np.dot(LUMA_WEIGHTS, colorsys.hls_to_rgb(hue, 0.5, saturation))
    lightness = 0.5 * luma / half if luma < half else 0.5 + 0.5 * (luma - half) / (1 - half)
    red, green, blue = (round(255 * channel) for channel in colorsys.hls_to_rgb(hue, lightness, saturation))
    return (red, green, blue)


def segment_colors(
    label_ids: Sequence[int], colors: Mapping[int, Color], shade_indices: Sequence[int] | None = None
) -> list[Color]:
    """Return the colors of segments, which are shades of their classes' colors.

    Args:
        label_ids: class id of each segment.
        colors: color of each class.
        shade_indices: index of each segment's shade, for `shade`; None to count the segments of each class from 0.

    Returns:
        (red, green, blue) of each segment.
    """
    if shade_indices is None:
        counters: dict[int, count[int]] = {label_id: count() for label_id in label_ids}
        shade_indices = [next(counters[label_id]) for label_id in label_ids]
    return [shade(colors[label_id], index) for label_id, index in zip(label_ids, shade_indices, strict=True)]


def text_color(background: Color) -> Color:
    """Return black or white, whichever has the higher contrast (at least 4.5, as defined in WCAG 2)."""
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in np.divide(background, 255)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)

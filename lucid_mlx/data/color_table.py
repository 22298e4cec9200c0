"""Label maps in colors, and the tables that say which color is which class."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

Color = tuple[int, int, int]

_NUMBERS = r"(?P<red>\d{1,3})\s*[,;]\s*(?P<green>\d{1,3})\s*[,;]\s*(?P<blue>\d{1,3})"
_LINES = (
    re.compile(rf"(?P<name>[^:]+):\s*{_NUMBERS}\s*(:.*)?"),  # CVAT's labelmap.txt: "cat:250,50,83::"
    re.compile(rf"(?P<name>[^,;]+)[,;]\s*{_NUMBERS}"),  # class_dict.csv: "Sky,128,128,128"
    re.compile(r"(?P<red>\d{1,3})\s+(?P<green>\d{1,3})\s+(?P<blue>\d{1,3})\s+(?P<name>.+)"),  # "128 128 128 Sky"
)
_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA")


def parse_color_table(text: str, path: Path) -> dict[str, Color] | None:
    """Read the color of each class.

    Args:
        text: the content of a file.
        path: the file, for the message.

    Returns:
        The colors by name, in the order of the file; None if it is no table of colors.

    Raises:
        InputError: if two classes have the same name or color.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = [next(filter(None, (pattern.fullmatch(line) for pattern in _LINES)), None) for line in lines]
    if found and found[0] is None:  # a head line, such as "name,r,g,b"
        found = found[1:]
    rows = [(x["name"].strip(' \t"'), (int(x["red"]), int(x["green"]), int(x["blue"]))) for x in found if x is not None]
    if not rows or len(rows) < len(found) or max(max(color) for _, color in rows) > 255:
        return None
    for what, counts in (("name", Counter(name for name, _ in rows)), ("color", Counter(color for _, color in rows))):
        if twice := [value for value, count in counts.items() if count > 1]:
            raise InputError(f"{path} has two classes of the {what} {shown(twice[0])}; expected another for each")
    return dict(rows)


def labels_of_colors(image: Image.Image, colors: Mapping[str, Color], path: Path) -> np.ndarray:
    """Return the label of each pixel by its color.

    Args:
        image: a label map in colors.
        colors: the color of each class.
        path: the file, for the message.

    Returns:
        (H, W) int32: the numbers of the classes, in the order of `colors`.

    Raises:
        InputError: if a color is of no class.
    """
    if image.mode not in _MODES:
        raise InputError(f"{path} has mode {image.mode}; expected a picture of the colors that `names` has")
    red, green, blue = (np.asarray(x) for x in image.convert("RGB").split())
    codes = red.astype(np.int32) << 16 | green.astype(np.int32) << 8 | blue
    known = np.array([x << 16 | y << 8 | z for x, y, z in colors.values()], np.int32)
    order = np.argsort(known)
    labels = order[np.searchsorted(known[order], codes).clip(max=len(known) - 1)].astype(np.int32)
    if (unknown := known[labels] != codes).any():
        row, column = np.argwhere(unknown)[0]
        color = ",".join(str(x[row, column]) for x in (red, green, blue))
        raise InputError(
            f"{path} has the color {color} at x={column}, y={row}, which is of no class in `names`; add it there, and "
            "`merge` can leave that class out; or give names without colors, if the values are numbers of classes"
        )
    return labels

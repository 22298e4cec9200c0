"""JPEG files that end early: what is there is right, what is missing is gray."""

import warnings
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError

END = b"\xff\xd9"
MISSING = 0.1  # the part of the rows that may be missing
GRAY = 128  # with which libjpeg fills what is missing


def complete(file: BinaryIO, name: str) -> Image.Image:
    """Decode a JPEG that has no end, as browsers do.

    A file that lacks its end marker alone is as good as any. One that lacks less than a tenth of its rows is taken,
    with a warning.

    Args:
        file: the JPEG.
        name: for messages.

    Returns:
        The decoded image. Anything that Pillow raises passes through.

    Raises:
        InputError: if more is missing.
    """
    file.seek(0)
    image = Image.open(BytesIO(file.read() + END))
    image.load()
    rows = _gray_rows(image)
    if rows > MISSING * image.height:
        raise InputError(
            f"{name} is damaged or incomplete: the file ends early, {rows / image.height:.0%} of the picture is missing"
        )
    if rows or _is_gray(image, image.height - 2, image.width - 2) or "progressive" in image.info:
        warnings.warn(f"{name} is incomplete: the file ends early; read without what is missing", stacklevel=2)
    return image


def _gray_rows(image: Image.Image) -> int:
    """Return how many rows at the bottom are missing."""
    rows = 0
    while rows < image.height and _is_gray(image, image.height - rows - 1, 0, image.height - rows):
        rows += 1
    return rows


def _is_gray(image: Image.Image, top: int, left: int, bottom: int | None = None) -> bool:
    box = (max(left, 0), max(top, 0), image.width, bottom or image.height)
    return bool((np.asarray(image.crop(box).convert("L")).astype(int) == GRAY).all())

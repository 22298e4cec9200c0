"""Open image files whose size is known to fit into memory."""

import os
import warnings
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_file
from lucid_mlx.utils.validation import BYTES_PER_PIXEL, MB, check_image_size, max_image_bytes, too_large

TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF's tags


def open_image(file: Path | BinaryIO, name: str) -> Image.Image:
    """Open an image with Pillow, and check its size before anything is decoded.

    Args:
        file: a path, or a file that can seek.
        name: for the error.

    Returns:
        The image; its pixels are decoded when they are used.

    Raises:
        InputError: if the path is not a regular file, or the file or its pixels take more than `max_image_bytes`.
            Anything that Pillow raises passes through.
    """
    limit = max_image_bytes()
    if isinstance(file, Path):
        check_file(file, "an image file")
        size = file.stat().st_size
        with file.open("rb") as opened:
            header = opened.read(30)
    else:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        header = file.read(30)
        file.seek(0)
    if size > limit:  # some decoders read all of it at once
        raise InputError(too_large(f"{name} has {size // MB} MB"))
    check_image_size(*_webp_size(header), name)
    # Pillow has a limit of its own: it warns from it on, and refuses twice as many pixels.
    pixels = limit // BYTES_PER_PIXEL
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(file)
        except Image.DecompressionBombError:
            raise InputError(too_large(f"{name} has more than {pixels / 1e6:g} megapixels")) from None
    try:
        check_image_size(*image.size, name)
        check_image_size(*_tile_size(image), f"a tile of {name}")
    except InputError:
        image.close()
        raise
    return image


def _webp_size(header: bytes) -> tuple[int, int]:
    """Return the size of a WebP image, for which Pillow makes room when it opens it; zeros for other formats."""
    if len(header) < 30 or header[:4] != b"RIFF" or header[8:12] != b"WEBP":
        return 0, 0
    kind, numbers = header[12:16], int.from_bytes(header[20:30], "little")
    if kind == b"VP8 ":  # from the seventh byte on, two numbers of 14 bits, each in two bytes
        return numbers >> 48 & 0x3FFF, numbers >> 64 & 0x3FFF
    if kind == b"VP8L":  # after one byte, two numbers of 14 bits
        return (numbers >> 8 & 0x3FFF) + 1, (numbers >> 22 & 0x3FFF) + 1
    return (numbers >> 32 & 0xFFFFFF) + 1, (numbers >> 56 & 0xFFFFFF) + 1  # VP8X: after four, two of 24 bits


def _tile_size(image: Image.Image) -> tuple[int, int]:
    """Return the size of a TIFF's tiles, which are decoded whole, also if the image is smaller."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(TILE_WIDTH, 0), tags.get(TILE_LENGTH, 0)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)

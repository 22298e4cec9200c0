"""Open image files whose size is known to fit into memory."""

import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.utils import iso_media, png
from lucid_mlx.utils.files import check_file
from lucid_mlx.utils.validation import BYTES_PER_PIXEL, MB, check_image_size, max_image_bytes, too_large

SUBFILE_TYPE, TILE_WIDTH, TILE_LENGTH, SUB_DIRECTORIES, DNG_VERSION = 254, 322, 323, 330, 50706  # TIFF's tags
# What Pillow only knows by name, or hands to a program.
_NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


@lru_cache(1)
def picture_endings() -> frozenset[str]:
    """Return how the names of pictures end, in lower case, with the dot: what Pillow reads, and HEIC."""
    formats = {name for name in Image.registered_extensions().values() if name in Image.OPEN} - _NOT_PICTURES
    endings = {ending for ending, name in Image.registered_extensions().items() if name in formats}
    return frozenset(endings | set(iso_media.HEIF_ENDINGS))


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture, by the end of its name; hidden files are none.

    Args:
        path: the file, such as one of a folder.

    Returns:
        Whether it is there and is called as a picture.
    """
    return path.suffix.lower() in picture_endings() and not path.name.startswith(".") and path.is_file()


def open_image(file: Path | BinaryIO, name: str) -> Image.Image:
    """Open an image with Pillow, and check its size before anything is decoded.

    Args:
        file: a path, or a file that can seek.
        name: for the error.

    Returns:
        The image; its pixels are decoded when they are used.

    Raises:
        InputError: if the path is not a regular file, the file or its pixels take more than `max_image_bytes`, or it
            needs a library that is not installed. Anything that Pillow raises passes through.
    """
    limit = max_image_bytes()
    if isinstance(file, Path):
        check_file(file, "an image file")
        size = file.stat().st_size
        with file.open("rb") as opened:
            header = opened.read(64)
    else:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        header = file.read(64)
        file.seek(0)
    if size > limit:  # some decoders read all of it at once
        raise InputError(too_large(f"{name} has {size // MB} MB"))
    check_image_size(*_webp_size(header[:30]), name)
    # Pillow has a limit of its own: it warns from it on, and refuses twice as many pixels.
    pixels = limit // BYTES_PER_PIXEL
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = _open(file, header, name)
        except Image.DecompressionBombError:
            raise InputError(too_large(f"{name} has more than {pixels / 1e6:g} megapixels")) from None
    try:
        check_image_size(*image.size, name)
        check_image_size(*_tile_size(image), f"a tile of {name}")
        if _is_raw(image):
            raise InputError(f"{name} is a RAW photo, of which only a preview can be read; export it as JPEG or TIFF")
    except InputError:
        image.close()
        raise
    return image


def _open(file: Path | BinaryIO, header: bytes, name: str) -> Image.Image:
    if header.startswith(png.SIGNATURE):
        return png.open_png(file)
    if header[4:8] == b"ftyp":
        return iso_media.open_photo(file, header, name)
    return Image.open(file)


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


def _is_raw(image: Image.Image) -> bool:
    """Return whether a TIFF is a camera's raw file, whose first image is a preview."""
    tags = getattr(image, "tag_v2", {})
    return DNG_VERSION in tags or (tags.get(SUBFILE_TYPE) == 1 and SUB_DIRECTORIES in tags)

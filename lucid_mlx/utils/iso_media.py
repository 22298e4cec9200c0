"""HEIC, AVIF and their relatives, which are told apart by the brands in their first box."""

import importlib
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import Image, features

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import examples

HEIF_ENDINGS = (".heic", ".heif", ".hif")
INSTALL = "pip install 'lucid-mlx[heif]'"
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}

Name = TypeVar("Name", str, Path)


def open_photo(file: Path | BinaryIO, header: bytes, name: str) -> Image.Image:
    """Open a HEIC or AVIF photo. Pillow's own list of formats stays as it is.

    Args:
        file: a path, or a file that can seek, at its start.
        header: its first bytes.
        name: for the error.

    Returns:
        The image. Anything that Pillow raises passes through.

    Raises:
        InputError: if a library is missing, or it is not a photo.
    """
    brands = _brands(header)
    if b"crx " in brands:
        raise InputError(f"{name} is a RAW photo; export it as JPEG or TIFF")
    if brands & _AVIF_BRANDS:
        if not features.check("avif"):
            raise InputError(f"{name} is an AVIF photo, which needs Pillow 11.3 or newer: pip install -U pillow")
        return Image.open(file)
    if not brands & _HEIF_BRANDS:
        raise InputError(f"{name} is a video; `lucid-mlx video` segments it, or save a frame as PNG or JPEG")
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise InputError(f"{name} is a HEIC photo, which needs one more library: {INSTALL}") from None
    image: Image.Image = pillow_heif.HeifImageFile(str(file) if isinstance(file, Path) else file)
    return image


def without_heif(photos: Sequence[Name]) -> list[Name]:
    """Leave out HEIC photos, with one warning, if the library that reads them is not installed.

    Args:
        photos: paths; others, such as addresses, stay.

    Returns:
        Those that can be read.

    Raises:
        InputError: if there are only HEIC photos.
    """
    if find_spec("pillow_heif") is not None:
        return list(photos)
    heif = [photo for photo in photos if _is_heif(photo)]
    names = examples([Path(photo).name for photo in heif])
    if heif and len(heif) == len(photos):
        raise InputError(f"all photos are HEIC ({names}), which needs one more library: {INSTALL}")
    if heif:
        what = "1 HEIC photo" if len(heif) == 1 else f"{len(heif)} HEIC photos"
        warnings.warn(f"{what} skipped for want of a library ({names}): {INSTALL}", stacklevel=2)
    left_out = set(heif)
    return [photo for photo in photos if photo not in left_out]


def _is_heif(photo: str | Path) -> bool:
    """Return whether a file is a HEIC photo, whatever it is called."""
    with suppress(OSError, ValueError):
        if Path(photo).is_file():
            with Path(photo).open("rb") as file:
                brands = _brands(file.read(64))
            return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS
    return False


def _brands(header: bytes) -> set[bytes]:
    if header[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(header[:4], "big"), len(header))
    return {header[8:12], *(header[start : start + 4] for start in range(16, end - 3, 4))}

"""Read any image as a viewer shows it: 8-bit RGB, upright."""

import contextlib
import importlib
import io
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_file
from lucid_mlx.utils.http import download
from lucid_mlx.utils.open_image import open_image
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MB, check_image_size, max_image_bytes, too_large

Pixels = np.ndarray
ImageLike = str | PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray | mx.array

MAX_DOWNLOAD_BYTES = 100 << 20
DOWNLOAD_TIMEOUT = 120  # seconds for the whole file
FLOAT_TOLERANCE = 1e-3  # floating-point pixels may lie so far outside of 0 to 1
BAND_PIXELS = 1 << 20  # converted at a time, so that large images need little memory beside their pixels

# Common files that Pillow does not read, by their first bytes.
_UNSUPPORTED_FORMATS = {
    b"%pdf": "a PDF; save the page as PNG or JPEG",
    b"%!ps": "PostScript, which is a program; save it as PNG",
    b"\xc5\xd0\xd3\xc6": "PostScript, which is a program; save it as PNG",
    b"<svg": "an SVG, which has no pixels; save it as PNG",
    b"<?xml": "XML, perhaps an SVG, which has no pixels; save it as PNG",
    b"<!doctype html": "a web page; give the URL of the image itself",
    b"<html": "a web page; give the URL of the image itself",
}
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def read_image(source: ImageLike) -> Pixels:
    """Read an image.

    The EXIF orientation is applied, 16-bit values are scaled to 8 bits, and an animation gives its first frame.
    Transparent pixels are composited on white, as on a web page; a plain conversion to RGB would show arbitrary colors
    there. An image of more than 110 megapixels is refused; the environment variable LUCID_MLX_MAX_IMAGE_MB allows more,
    with 4 bytes to a pixel.

    Args:
        source: a path, an http(s) URL, the bytes of a file or a binary file object, in any format that Pillow reads
            (HEIC too, if pillow-heif is installed); a Pillow image; or a NumPy or MLX array (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4), gray, RGB or RGBA: uint8, uint16 up to 65535, floats from 0 to 1, or bool.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: if the source is missing, cannot be downloaded, is empty, truncated, too large, or not an image.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, mx.array):
        return _from_array(np.array(source.astype(mx.float32) if source.dtype == mx.bfloat16 else source))
    if isinstance(source, Image.Image):
        check_image_size(*source.size, "the image")
        return _decode(source, "the image", in_place=False)
    name, file = _open(source)
    with file:
        return _read(file, name)


def _open(source: str | PathLike[str] | bytes | BinaryIO) -> tuple[str, BinaryIO]:
    """Return a name for error messages, and the file."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "the image", io.BytesIO(source)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        contents = io.BytesIO()
        download(source, contents, max_bytes=MAX_DOWNLOAD_BYTES, max_seconds=DOWNLOAD_TIMEOUT)
        contents.seek(0)
        return source, contents
    if isinstance(source, str | PathLike):
        try:
            path = Path(source).expanduser()
            check_file(path, "an image file")
            return str(path), path.open("rb")
        except (OSError, RuntimeError) as error:
            raise InputError(f"{shown(str(source), 200)} cannot be read: {error}") from error
    if hasattr(source, "read"):
        name, limit = str(getattr(source, "name", "the image")), max_image_bytes()
        data = source.read(limit + 1)
        if not isinstance(data, bytes):
            raise InputError("an image is read from binary files; open it with mode 'rb'")
        if len(data) > limit:
            raise InputError(too_large(f"{name} has more than {limit // MB} MB"))
        return name, io.BytesIO(data)
    raise InputError(
        f"an image must be a path, a URL, bytes, a binary file, a Pillow image or an array; got {shown(source, 80)}"
    )


def _read(file: BinaryIO, name: str) -> Pixels:
    header = file.read(64)
    if not header:
        raise InputError(f"{name} is empty; expected an image file")
    text = header.removeprefix(b"\xef\xbb\xbf").lstrip().lower()  # without a byte order mark
    for signature, format_name in _UNSUPPORTED_FORMATS.items():
        if text.startswith(signature):
            raise InputError(f"{name} is {format_name}")
    heic = header[4:8] == b"ftyp" and header[8:12] in _HEIC_BRANDS
    if heic:
        with contextlib.suppress(ImportError):
            importlib.import_module("pillow_heif").register_heif_opener()
    try:
        image = open_image(file, name)
    except UnidentifiedImageError:
        problem = "a HEIC photo; `pip install pillow-heif` to read it" if heic else "not an image that Pillow can read"
        raise InputError(f"{name} is {problem}") from None
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} is damaged or incomplete: {error}") from error
    return _decode(image, name, in_place=True)


def _decode(image: Image.Image, name: str, in_place: bool) -> Pixels:
    # In these formats Pillow's 32-bit mode I holds 16-bit values.
    sixteen_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    try:
        image.load()
        if 0 in image.size:
            raise ValueError("it has no pixels")
        if in_place:
            ImageOps.exif_transpose(image, in_place=True)
        else:
            image = ImageOps.exif_transpose(image)
        return _rgb(image, sixteen_bit)
    except Image.DecompressionBombError as error:  # of a picture within the file, which is larger than its header says
        raise InputError(too_large(f"{name} is too large: {error}")) from error
    except Exception as error:  # Pillow's decoders raise nearly any exception when a file is damaged
        raise InputError(f"{name} is damaged or incomplete: {error}") from error


def _rgb(image: Image.Image, sixteen_bit: bool = False) -> Pixels:
    white = 65535.0
    if image.mode in ("I", "F") and not sixteen_bit:
        white = _guess_white(image.getextrema()[1])
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for rows in _bands(height, width):
        pixels[rows] = _band_rgb(image.crop((0, rows.start, width, rows.stop)), white)
    return pixels


def _bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _band_rgb(image: Image.Image, white: float) -> Pixels:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinite pixels")
        return _to_8_bits(values, white)[..., None]
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def _guess_white(maximum: Any) -> float:
    """Guess the value of white for integers or floats in a file that does not define it."""
    if maximum <= 2.0:
        return 1.0
    return 255.0 if maximum <= 255.0 else max(float(maximum), 65535.0)


def _to_8_bits(values: np.ndarray, white: float) -> np.ndarray:
    pixels = np.empty(values.shape, np.uint8)
    for rows in _bands(*values.shape[:2]):
        pixels[rows] = np.clip(values[rows].astype(np.float64) * (255.0 / white), 0.0, 255.0).round()
    return pixels


def _from_array(array: np.ndarray) -> Pixels:
    channels = array.shape[2:] or (1,)
    if array.ndim not in (2, 3) or channels[0] not in (1, 3, 4) or array.size == 0:
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise InputError(
            f"an image must be an array of (height, width) or (height, width, 1, 3 or 4 channels), got {array.shape}"
            + ("; put the channels last" if channels_first else "")
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        array = _to_8_bits(array, 65535.0)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= -FLOAT_TOLERANCE and high <= 1.0 + FLOAT_TOLERANCE):
            raise InputError(
                f"floating-point pixels must lie from 0 to 1, found {low:g} to {high:g}; pixels from 0 to 255 must be "
                "uint8"
            )
        array = _to_8_bits(array, 1.0)
    elif array.dtype != np.uint8:
        raise InputError(f"pixels must be uint8, uint16, floats from 0 to 1, or bool; got {array.dtype}")
    return _rgb(Image.fromarray(array[..., 0] if channels == (1,) and array.ndim == 3 else array))

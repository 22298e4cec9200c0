"""Read any image as a viewer shows it: 8-bit RGB, upright."""

import io
import re
import unicodedata
import warnings
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing.addresses import ADDRESS, file_path, open_address
from lucid_mlx.preprocessing.arrays import BAND_PIXELS, as_array, scaled, to_uint8
from lucid_mlx.preprocessing.color_profile import Conversion, to_srgb
from lucid_mlx.preprocessing.truncated_jpeg import complete
from lucid_mlx.utils.files import check_file
from lucid_mlx.utils.open_image import open_image
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MB, check_image_size, check_value, max_image_bytes, too_large

Pixels = np.ndarray
ImageLike = str | PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray | mx.array

# Common files that Pillow does not read, by their first bytes.
_UNSUPPORTED_FORMATS = {
    b"%pdf": "a PDF; save the page as PNG or JPEG",
    b"%!ps": "PostScript, which is a program; save it as PNG",
    b"\xc5\xd0\xd3\xc6": "PostScript, which is a program; save it as PNG",
    b"<svg": "an SVG, which has no pixels; save it as PNG",
    b"<?xml": "XML, perhaps an SVG, which has no pixels; save it as PNG",
    b"<!doctype html": "a web page; give the URL of the image itself",
    b"<html": "a web page; give the URL of the image itself",
    b"version https://git-lfs": "a pointer of Git LFS, not the image itself; fetch that with `git lfs pull`",
    b"fujifilmccd-raw": "a RAW photo; export it as JPEG or TIFF",
    b"iiro": "a RAW photo; export it as JPEG or TIFF",
    b"iiu\0": "a RAW photo; export it as JPEG or TIFF",
    b"fovb": "a RAW photo; export it as JPEG or TIFF",
    b"ii*\0\x10\0\0\0cr": "a RAW photo; export it as JPEG or TIFF",
    b"\xff\x0a": "a JPEG XL; save it as JPEG or PNG",
    b"\0\0\0\x0cjxl ": "a JPEG XL; save it as JPEG or PNG",
}


def read_image(source: ImageLike, *, bgr: bool = False) -> Pixels:
    """Read an image.

    The EXIF orientation is applied, colors are converted to sRGB by the image's own profile, 16-bit values are scaled
    to 8 bits, and an animation gives its first frame. Transparent pixels are composited on white, as on a web page; a
    plain conversion to RGB would show arbitrary colors there. An image of more than 110 megapixels is refused; the
    environment variable LUCID_MLX_MAX_IMAGE_MB allows more, with 4 bytes to a pixel. LUCID_MLX_IGNORE_COLOR_PROFILES=1
    leaves colors as they are stored.

    Args:
        source: a path, an http(s), `file:` or `data:` address, the bytes of a file or a binary file object, in any
            format that Pillow reads (HEIC too, with the extra `heif`); a Pillow image; a NumPy or MLX array (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4), gray, RGB or RGBA: uint8, uint16 up to 65535, floats from 0 to 1, or
            bool; or a torch tensor of such pixels, (H, W, C) or (C, H, W).
        bgr: arrays and tensors have their channels in the order of OpenCV. Other sources know their own order.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: if the source is missing, cannot be downloaded, is empty, truncated, too large, or not an image.
    """
    if isinstance(source, Image.Image):
        check_image_size(*source.size, "the image")
        return _decode(source, "the image", in_place=False)
    if not isinstance(source, str | PathLike | bytes | bytearray | memoryview):
        check_value("bgr", bgr, bool)
        if type(source) is np.ndarray and source.dtype == np.uint8 and source.shape[2:] == (3,) and source.size:
            return np.array(source[..., ::-1] if bgr else source, order="C")
        if (array := as_array(source)) is not None:
            return _rgb(Image.fromarray(np.ascontiguousarray(to_uint8(array, bgr))))
    name, file = _open(source)
    with file:
        return _read(file, name)


def _open(source: Any) -> tuple[str, BinaryIO]:
    """Return a name for error messages, and the file."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "the image", io.BytesIO(source)
    if isinstance(source, str) and ADDRESS.match(source):
        path = file_path(source)
        if path is None:
            return open_address(source)
        source = path
    if isinstance(source, str | PathLike):
        if source == "":
            raise InputError("the path of the image is empty")
        if isinstance(source, str) and (scheme := re.match(r"(\w+)://", source)):
            raise InputError(f"{shown(source, 200)}: {scheme[1]} is not read; expected https, http, file or data")
        try:
            path = _existing(Path(source))
            check_file(path, "an image file")
            return str(path), path.open("rb")
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(f"{shown(str(source), 200)} cannot be read: {error}") from error
    if hasattr(source, "read"):
        name, limit = str(getattr(source, "name", "the image")), max_image_bytes()
        source = getattr(source, "buffer", source)  # of a file that was opened as text
        data = source.read(limit + 1)
        if not data and hasattr(source, "seek"):  # it was written just now
            source.seek(0)
            data = source.read(limit + 1)
        if not isinstance(data, bytes):
            raise InputError("an image is read from binary files; open it with mode 'rb'")
        if len(data) > limit:
            raise InputError(too_large(f"{name} has more than {limit // MB} MB"))
        return name, io.BytesIO(data)
    hint = ", as cv2.imread gives for a file that it cannot read" if source is None else ""
    raise InputError(
        "an image must be a path, a URL, bytes, a binary file, a Pillow image or an array; "
        f"got {shown(source, 80)}{hint}"
    )


def _existing(path: Path) -> Path:
    """Return the path as the disk has it: with the home folder, and with letters such as ä in one or two parts."""
    try:
        path = path.expanduser()
    except RuntimeError as error:  # of an unknown user, unless a file is called so
        if not path.exists():
            raise OSError(str(error)) from error
    if not path.name.isascii() and not path.exists():
        others = (path.with_name(unicodedata.normalize(form, path.name)) for form in ("NFC", "NFD"))
        return next((other for other in others if other.exists()), path)
    return path


def _read(file: BinaryIO, name: str) -> Pixels:
    header = file.read(64)
    if not header:
        raise InputError(f"{name} is empty; expected an image file")
    text = header.removeprefix(b"\xef\xbb\xbf").lstrip().lower()  # without a byte order mark
    for signature, format_name in _UNSUPPORTED_FORMATS.items():
        if text.startswith(signature) or header.lower().startswith(signature):
            raise InputError(f"{name} is {format_name}")
    try:
        image = open_image(file, name)
        if image.format in ("JPEG", "MPO"):
            try:
                image.load()
            except OSError:  # it is truncated
                image = complete(file, name)
    except UnidentifiedImageError:
        raise InputError(f"{name} is not an image that Pillow can read") from None
    except InputError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error
    return _decode(image, name, in_place=True)


def _decode(image: Image.Image, name: str, in_place: bool) -> Pixels:
    # In these formats Pillow's 32-bit mode I holds 16-bit values.
    sixteen_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    try:
        image.load()
        if 0 in image.size:
            raise ValueError("it has no pixels")
        image = _upright(image, name, in_place)
    except Image.DecompressionBombError as error:  # of a picture within the file, which is larger than its header says
        raise InputError(too_large(f"{name} is too large: {error}")) from error
    except Exception as error:  # Pillow's decoders raise nearly any exception when a file is damaged
        raise _damaged(name, error) from error
    convert = to_srgb(image, name) if image.info.get("icc_profile") else None
    try:
        return _rgb(image, sixteen_bit, convert)
    except Exception as error:
        raise _damaged(name, error) from error


def _upright(image: Image.Image, name: str, in_place: bool) -> Image.Image:
    try:
        if not in_place:
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # Pillow raises nearly everything when EXIF data are damaged, and pixels need not be
        warnings.warn(f"{name} has damaged EXIF data, which are ignored: it may lie on its side", stacklevel=2)
    return image


def _rgb(image: Image.Image, sixteen_bit: bool = False, convert: Conversion | None = None) -> Pixels:
    white = 65535.0
    if image.mode in ("I", "F") and not sixteen_bit:
        white = _guess_white(image.getextrema()[1])
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    step = max(1, BAND_PIXELS // width)
    for top in range(0, height, step):
        rows = image.crop((0, top, width, min(top + step, height)))
        pixels[top : top + step] = _rows_rgb(rows, white, convert)
    return pixels


def _rows_rgb(image: Image.Image, white: float, convert: Conversion | None) -> Pixels:
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinite pixels")
        image = Image.fromarray(scaled(values, white))
    if convert is not None:
        image = convert(image)
    if image.mode == "La":  # from which Pillow converts to nothing else
        image = image.convert("LA")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def _damaged(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())  # libheif's has several lines
    return InputError(f"{name} is damaged or incomplete: {reason}")


def _guess_white(maximum: Any) -> float:
    """Guess the value of white for integers or floats in a file that does not define it."""
    if maximum <= 2.0:
        return 1.0
    return 255.0 if maximum <= 255.0 else max(float(maximum), 65535.0)

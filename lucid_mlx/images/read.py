"""Any image to the pixels that a person sees: 8-bit RGB, upright."""

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lucid_mlx.errors import InputError

Pixels = np.ndarray


def read_image(source: str | PathLike[str]) -> Pixels:
    """Read an image file.

    EXIF rotation is applied, transparency laid on white, 16-bit scaled to 8, and of an animation the first frame
    is taken.

    Args:
        source: the path of any format that Pillow reads.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: if the file is missing, empty, truncated, too large or no image.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist; expected an image file")
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected an image file")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; expected an image file")
    try:
        with Image.open(path) as image:
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: {error}") from error
    except Exception as error:  # Pillow's decoders raise nearly everything when a file is damaged
        raise InputError(f"{path} is damaged or incomplete: {error}") from error


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith(("I", "F")):
        return _from_deep(np.asarray(image), sixteen_bit=image.mode.startswith("I;16"))
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def _from_deep(gray: np.ndarray, sixteen_bit: bool) -> Pixels:
    """Scale gray values of more than 8 bits: 65535 is white; for floats 1, unless something is much brighter."""
    values = gray.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite pixels")
    brightest = values.max(initial=0.0)
    white = 65535.0 if sixteen_bit or brightest > 255.0 else 255.0 if brightest > 2.0 else 1.0
    scaled = np.clip(values * 255.0 / white, 0.0, 255.0).round().astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=-1)

"""Colors as an image's own profile means them: converted to sRGB, which networks are trained on."""

import os
import warnings
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

VARIABLE = "LUCID_MLX_IGNORE_COLOR_PROFILES"
SAME = 3  # levels of 255: profiles that differ so little from sRGB are other spellings of it
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}

_TOLD: set[str] = set()  # problems that a warning was about

Conversion = Callable[[Image.Image], Image.Image]


def to_srgb(image: Image.Image, name: str) -> Conversion | None:
    """Return what converts the colors of an image, or of a part of it, to sRGB.

    The intent is relative colorimetric with black point compensation, as in browsers: white stays white, a color that
    sRGB has keeps its place, and one that it does not have becomes the nearest.

    Args:
        image: with a profile in its `info`.
        name: for a warning about a profile that cannot be used.

    Returns:
        A function from an image to an RGB or RGBA image; None if nothing changes.
    """
    profile = image.info.get("icc_profile")
    if (
        not isinstance(profile, bytes)
        or not profile
        or image.mode == "LAB"
        or os.environ.get(VARIABLE, "0") not in ("", "0")
    ):
        return None
    mode = {"1": "L", "LA": "L", "I;16": "L"}.get(image.mode, image.mode)
    transform, problem = _transform(profile, mode if mode in ("L", "CMYK") else "RGB")
    if problem is not None and problem not in _TOLD:
        _TOLD.add(problem)
        warnings.warn(f"the color profile of {name} is ignored, as are others like it: {problem}", stacklevel=2)
    if transform is None:
        return None
    wanted = transform.input_mode

    def convert(part: Image.Image) -> Image.Image:
        if not part.has_transparency_data:
            return transform.apply(part.convert(wanted))
        part = part.convert("RGBA")
        converted = transform.apply(part.convert(wanted))
        converted.putalpha(part.getchannel("A"))
        return converted

    return convert


@lru_cache(16)
def _transform(profile: bytes, mode: str) -> tuple[ImageCms.ImageCmsTransform | None, str | None]:
    """Return the conversion from a profile, None if it changes nothing; and what is wrong with the profile."""
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        wanted = _SPACES.get(opened.profile.xcolor_space)
        if wanted is None or (wanted != mode and (mode, wanted) != ("L", "RGB")):
            return None, f"it is for {opened.profile.xcolor_space.strip()}, and the pixels are {mode}"
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            wanted,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        samples = _samples(wanted)
        change = np.asarray(transform.apply(samples)).astype(int) - np.asarray(samples.convert("RGB"))
    except Exception as error:  # Pillow's errors, and those of damaged profiles
        return None, f"it is damaged ({error})"
    return (None if wanted != "CMYK" and np.abs(change).max() <= SAME else transform), None


def _samples(mode: str) -> Image.Image:
    """Return an image of colors from all over a space."""
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    if mode == "L":
        return Image.fromarray(levels[None])
    if mode == "CMYK":
        return Image.new("CMYK", (1, 1))
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(17, -1, 3))

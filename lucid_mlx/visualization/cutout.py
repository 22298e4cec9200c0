"""Photos without their background: cut out, blurred behind, or before something else."""

import numpy as np
from PIL import Image, ImageColor, ImageFilter, ImageOps

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

ROWS = 256  # that are computed at a time, for the sake of memory
Background = str | tuple[int, int, int] | Image.Image | np.ndarray


def matte(mask: np.ndarray, feather: float = 0.0) -> Image.Image:
    """Return how opaque each pixel is, as an image in gray: 255 in the mask, 0 outside.

    Args:
        mask: (H, W) bool.
        feather: softness of the edge in pixels, the standard deviation of a Gaussian blur.

    Returns:
        The image.
    """
    alpha = Image.fromarray(mask).convert("L")
    return alpha.filter(ImageFilter.GaussianBlur(feather)) if feather else alpha


def cut_out(image: np.ndarray, alpha: Image.Image) -> Image.Image:
    """Return a photo that is transparent outside; what cannot be seen is black, so that it is not in the file.

    Args:
        image: (H, W, 3) uint8, RGB.
        alpha: what `matte` returned.

    Returns:
        An RGBA image.
    """
    seen = alpha.point([0] + [255] * 255)
    picture = Image.composite(Image.fromarray(image), Image.new("RGB", alpha.size), seen)
    picture.putalpha(alpha)
    return picture


def blur_behind(image: np.ndarray, mask: np.ndarray, alpha: Image.Image, radius: float) -> Image.Image:
    """Return a photo with its background blurred. The blur takes nothing from the foreground, which would glow.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) bool, the foreground.
        alpha: the mask's `matte`.
        radius: of the blur in pixels, the standard deviation of a Gaussian.

    Returns:
        An RGB image.
    """
    photo, blur = Image.fromarray(image), ImageFilter.GaussianBlur(radius)
    behind = Image.composite(Image.new("RGB", photo.size), photo, Image.fromarray(mask))
    weights = np.asarray(Image.fromarray(~mask).convert("L").filter(blur))[..., None]
    blurred = np.array(behind.filter(blur))
    for start in range(0, len(blurred), ROWS):
        rows = slice(start, start + ROWS)
        brightened = blurred[rows] * (np.float32(255) / np.maximum(weights[rows], 1))
        # Deep inside of the foreground nothing of the background is near: there the photo stands.
        blurred[rows] = np.where(weights[rows] > 0, np.minimum(brightened, 255).round(), image[rows])
    return Image.composite(photo, Image.fromarray(blurred), alpha)


def is_color(text: str) -> bool:
    """Return whether Pillow knows a text as a color."""
    try:
        ImageColor.getrgb(text)
    except ValueError:
        return False
    return True


def put_before(image: np.ndarray, alpha: Image.Image, background: Background) -> Image.Image:
    """Return a photo's foreground before something else.

    Args:
        image: (H, W, 3) uint8, RGB.
        alpha: what `matte` returned.
        background: a color, as Pillow names them or (red, green, blue), or a picture, which is scaled until it fills
            the photo, and cut in the middle.

    Returns:
        An RGB image.

    Raises:
        InputError: if it is none of these.
    """
    photo = Image.fromarray(image)
    return Image.composite(photo, _filled(background, photo.size), alpha)


def _filled(background: Background, size: tuple[int, int]) -> Image.Image:
    """Return a background as an RGB image of a size, (width, height)."""
    try:
        if isinstance(background, str):
            return Image.new("RGB", size, ImageColor.getrgb(background)[:3])
        if isinstance(background, tuple):
            red, green, blue = background
            return Image.new("RGB", size, (red, green, blue))
        picture = Image.fromarray(background) if isinstance(background, np.ndarray) else background
        return ImageOps.fit(picture.convert("RGB"), size)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise InputError(
            f"the background must be a color such as white, #ff8800 or (255, 136, 0), or a picture, got "
            f"{shown(background)}"
        ) from None

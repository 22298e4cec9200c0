"""Check the arrays and numbers that are drawn."""

from typing import Any

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_ID


def array(name: str, value: Any) -> np.ndarray:
    """Return an argument as an array.

    Args:
        name: of the argument, for the message.
        value: anything that NumPy makes an array of.

    Returns:
        The array, of any shape.

    Raises:
        InputError: if NumPy does not.
    """
    try:
        return np.asarray(value)
    except Exception:  # lists of different lengths, and whatever another library's arrays raise
        raise InputError(f"{name} must be an array, got a {type(value).__name__}") from None


def numbers(name: str, values: Any) -> list[float]:
    """Return an argument as numbers.

    Args:
        name: of the argument, for the message.
        values: a collection of numbers, of Python or of an array.

    Returns:
        The numbers as Python's own.

    Raises:
        InputError: if they are not.
    """
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be numbers, got {shown(values)}") from None


def checked_image(image: np.ndarray) -> np.ndarray:
    """Return an image as an array.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        The array.

    Raises:
        InputError: if it is no such array, or has no pixels.
    """
    image = array("the image", image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"the image must be (H, W, 3) uint8 with pixels in it, got {image.shape} {image.dtype}")
    return image


def checked_mask(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return a mask as an array.

    Args:
        mask: (H, W) bool.
        image: (H, W, 3), of the same size.

    Returns:
        The array.

    Raises:
        InputError: if it is no such array.
    """
    mask = array("a mask", mask)
    if mask.dtype != bool or mask.shape != image.shape[:2]:
        raise InputError(f"each mask must be {image.shape[:2]} bool, as its image, got {mask.shape} {mask.dtype}")
    return mask


def checked_map(name: str, ids: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return a map of ids as an array of int32.

    Args:
        name: of the argument, for the message.
        ids: (H, W) int.
        image: (H, W, 3), of the same size.

    Returns:
        The array.

    Raises:
        InputError: if it is no such array, or an id is too large.
    """
    ids = array(name, ids)
    if ids.dtype.kind not in "iu" or ids.shape != image.shape[:2]:
        raise InputError(f"{name} must be {image.shape[:2]} whole numbers, as its image, got {ids.shape} {ids.dtype}")
    if ids.max() > MAX_ID or ids.min() < -MAX_ID:
        raise InputError(f"{name} must hold numbers up to {MAX_ID}, got {ids.min()} to {ids.max()}")
    return ids.astype(np.int32, copy=False)

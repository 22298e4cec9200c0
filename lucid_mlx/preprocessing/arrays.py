"""Arrays and tensors of pixels, of the types and layouts that libraries have."""

from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

FLOAT_TOLERANCE = 1e-3  # floating-point pixels may lie so far outside of 0 to 1
BAND_PIXELS = 1 << 20  # converted at a time, so that large images need little memory beside their pixels


def as_array(source: Any) -> np.ndarray | None:
    """Return the pixels of an array of any library.

    Args:
        source: a NumPy or MLX array, a torch tensor, or anything else that NumPy takes for an array.

    Returns:
        (H, W) or (H, W, C); a torch tensor (C, H, W) is turned round. None if it is no array.

    Raises:
        InputError: if the library cannot give its pixels away.
    """
    if isinstance(source, np.ndarray):
        # What is masked out is shown as a transparent pixel is: white.
        return source.filled(_white(source.dtype)) if isinstance(source, np.ma.MaskedArray) else np.asarray(source)
    if isinstance(source, mx.array):
        return np.array(source.astype(mx.float32) if source.dtype == mx.bfloat16 else source)
    tensor = all(hasattr(source, name) for name in ("detach", "cpu", "numpy"))
    if not tensor and not hasattr(source, "__array__"):
        return None
    try:
        if not tensor:
            return np.asarray(source)
        source = source.detach().cpu()
        array = np.asarray(source.float().numpy() if str(source.dtype).endswith("bfloat16") else source.numpy())
    except Exception as error:  # which depends on the library
        raise InputError(f"the pixels of a {type(source).__name__} cannot be read: {shown(str(error), 200)}") from error
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        if array.shape[2] in (1, 3, 4):
            raise InputError(f"a tensor of {tuple(array.shape)} may have its channels first or last; give an array")
        array = array.transpose(1, 2, 0)
    return array


def to_uint8(array: np.ndarray, bgr: bool = False) -> np.ndarray:
    """Return pixels as 8 bits.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8, uint16 up to 65535, floats from 0 to 1, or bool.
        bgr: the channels are blue, green, red and perhaps alpha, as OpenCV has them.

    Returns:
        (H, W), (H, W, 3) or (H, W, 4), uint8, RGB or RGBA.

    Raises:
        InputError: if it is no image.
    """
    channels = array.shape[2:] or (1,)
    if array.ndim not in (2, 3) or channels[0] not in (1, 3, 4) or array.size == 0:
        raise InputError(
            f"an image must be an array of (height, width) or (height, width, 1, 3 or 4 channels), got {array.shape}"
            + _shape_hint(array)
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = scaled(array, 65535.0)
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= -FLOAT_TOLERANCE and high <= 1.0 + FLOAT_TOLERANCE):
            raise InputError(
                f"floating-point pixels must lie from 0 to 1, found {low:g} to {high:g}; pixels from 0 to 255 must be "
                "uint8 (`.astype('uint8')`, or `.byte()` in torch), and an image must not be normalized yet"
            )
        array = scaled(array, 1.0)
    elif array.dtype != np.uint8:
        hint = (
            "; make pixels from 0 to 255 uint8 (`.astype('uint8')`, or `.byte()` in torch)"
            if array.dtype.kind in "iu"
            else ""
        )
        raise InputError(f"pixels must be uint8, uint16, floats from 0 to 1, or bool; got {array.dtype}{hint}")
    if array.ndim == 2:
        return array
    if channels == (1,):
        return array[..., 0]
    return array[..., [2, 1, 0, 3][: channels[0]]] if bgr else array


def scaled(values: np.ndarray, white: float) -> np.ndarray:
    """Scale values to 8 bits.

    Args:
        values: (H, W) or (H, W, C), of numbers.
        white: the value that becomes 255; what is larger becomes 255 too.

    Returns:
        The same shape, uint8.
    """
    pixels = np.empty(values.shape, np.uint8)
    step = max(1, BAND_PIXELS // values.shape[1])
    for rows in (slice(top, top + step) for top in range(0, len(values), step)):
        pixels[rows] = np.clip(values[rows].astype(np.float64) * (255.0 / white), 0.0, 255.0).round()
    return pixels


def _white(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else dtype.type(1)


def _shape_hint(array: np.ndarray) -> str:
    if array.ndim == 4:
        return "; give the images of a batch as a list"
    return "; put the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""

"""Segments over a photo: tinted and outlined."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageFilter

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_ID
from lucid_mlx.visualization.colors import Color

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, right and bottom exclusive

# An outline is a soft white line in a wider dark one, so that it is visible on any background. For each of the two: the
# color; the radius of the blur in half line widths; a factor for the blurred line's opacity; and an offset that is
# subtracted before, so that the white line stays narrow.
OUTLINE = (((0, 0, 0), 1.5, 1.0, 0), ((255, 255, 255), 0.5, 1.8, 50))

TILE = 256  # outlines are drawn in squares of so many pixels

DUPLICATE_IOU = 0.8  # intersection over union from which two instances are taken for one object


class Masks(Protocol):
    """What masks are read from: an array, or a sequence that makes each mask when it is indexed."""

    def __len__(self) -> int:
        """The number of masks."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """A mask, (H, W) bool."""


def present_ids(ids: np.ndarray) -> list[int]:
    """Return the ids that occur in a map, (H, W) int, in ascending order and without negative ones."""
    return np.flatnonzero(count_ids(ids)).tolist()


def count_ids(ids: np.ndarray) -> np.ndarray:
    """Count the pixels of each id.

    Args:
        ids: (H, W) int. Negative ones do not count.

    Returns:
        (largest id + 1,) int, the number of pixels of each id.
    """
    most = int(ids.max())
    if most < 255 and ids.min() >= -1:  # Pillow counts bytes many times as fast as NumPy counts numbers
        return np.array(Image.fromarray(ids.astype(np.uint8)).histogram()[: most + 1], np.int64)
    return np.bincount(np.maximum(ids, -1).ravel() + 1)[1:]


def index_dtype(count: int) -> np.dtype[Any]:
    """Return the smallest type that holds -1 and so many indices: small maps are compared faster."""
    return np.dtype(next(kind for kind in (np.int8, np.int16, np.int32) if count <= np.iinfo(kind).max))


def ids_to_indices(ids: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Replace each id in a map by its index in a list.

    Args:
        ids: (H, W) int.
        wanted: the list of ids, each 0 or more and different from the others.

    Returns:
        (H, W) int, of the `index_dtype` of the list; -1 for an id that is not in the list.
    """
    table = np.full(max(int(ids.max()), *wanted, 0) + 2, -1, index_dtype(len(wanted)))
    table[list(wanted)] = np.arange(len(wanted))
    return table[np.maximum(ids, -1)]  # -1 is the last entry


def bounding_boxes(ids: np.ndarray) -> dict[int, Box]:
    """Return the bounding box of each id above 0 in a map, (H, W) int."""
    from scipy import ndimage  # which takes longer to import than all of this package

    found = enumerate(ndimage.find_objects(ids), 1)
    return {
        number: (slices[1].start, slices[0].start, slices[1].stop, slices[0].stop) for number, slices in found if slices
    }


def distinct_masks(masks: Masks, scores: Sequence[float], image: np.ndarray) -> dict[int, int]:
    """Return which instances to show: all but empty ones, and near-duplicates of those with a higher score.

    A network may find an object twice, as a coat and as a dress. Two masks are near-duplicates if their intersection
    is more than `DUPLICATE_IOU` of their union.

    Args:
        masks: (N, H, W) bool. They are read one at a time.
        scores: score of each instance.
        image: (H, W, 3), of the masks' size.

    Returns:
        The areas in pixels by the instances' indices, highest score first.

    Raises:
        InputError: if a mask is none, or has another size.
    """
    shown: dict[int, tuple[int, Box]] = {}
    for index in sorted(range(len(masks)), key=lambda index: -scores[index]):
        mask = checked_mask(masks[index], image)
        area = int(np.count_nonzero(mask))
        if not area:
            continue
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        for other, (other_area, other_box) in shown.items():
            least = DUPLICATE_IOU * max(area, other_area)  # pixels that both must have; boxes tell most apart
            width = min(box[2], other_box[2]) - max(box[0], other_box[0])
            height = min(box[3], other_box[3]) - max(box[1], other_box[1])
            if min(area, other_area) > least and min(width, height) > 0 and width * height > least:
                both = int(np.count_nonzero(mask & masks[other]))
                if both > DUPLICATE_IOU * (area + other_area - both):
                    break
        else:
            shown[index] = area, box
    return {index: area for index, (area, _) in shown.items()}


def find_boundaries(index_map: np.ndarray, distance: int) -> np.ndarray:
    """Mark the pixels near another segment.

    Args:
        index_map: (H, W), the segment of each pixel.
        distance: how far the other segment may be along the row or the column, in pixels.

    Returns:
        (H, W) bool.
    """
    boundaries = np.zeros(index_map.shape, bool)
    for shift in range(1, 1 + distance):
        columns, rows = index_map[:, :-shift] != index_map[:, shift:], index_map[:-shift] != index_map[shift:]
        boundaries[:, :-shift] |= columns
        boundaries[:, shift:] |= columns
        boundaries[:-shift] |= rows
        boundaries[shift:] |= rows
    return boundaries


def overlay(
    image: np.ndarray,
    index_map: np.ndarray,
    colors: Sequence[Color],
    boundaries: np.ndarray,
    line_width: int,
    opacity: float,
) -> Image.Image:
    """Blend each segment with its color, photo x (1 - opacity) + color x opacity, and draw outlines.

    Args:
        image: (H, W, 3) uint8, RGB.
        index_map: (H, W) int, the index of each pixel's segment; -1 where the photo is left as it is.
        colors: (red, green, blue) of each segment.
        boundaries: (H, W) bool, where the outlines are.
        line_width: half the width of an outline, in pixels.
        opacity: of the colors, 0 to 1.

    Returns:
        An RGB image of the photo's size.
    """
    photo = Image.fromarray(image)
    blended = Image.blend(photo, _flat_colors(index_map, colors), opacity)
    _draw_outlines(blended, boundaries, line_width)
    void = index_map < 0
    if void.any():
        blended.paste(photo, mask=Image.fromarray(void))
    return blended


def _draw_outlines(image: Image.Image, boundaries: np.ndarray, line_width: int) -> None:
    """Draw outlines over an image, tile by tile where there are any; arguments as of `overlay`."""
    margin = 1 + math.ceil(max(radius for _, radius, _, _ in OUTLINE) * line_width)  # as far as a blur sees
    height, width = boundaries.shape
    alphas = [[min(255, max(0, round(factor * (v - offset)))) for v in range(256)] for _, _, factor, offset in OUTLINE]
    for top, left in itertools.product(range(0, height, TILE), range(0, width, TILE)):
        bottom, right = min(top + TILE, height), min(left + TILE, width)
        start_y, start_x = max(0, top - margin), max(0, left - margin)
        around = boundaries[start_y : bottom + margin, start_x : right + margin]
        if not around.any():
            continue
        lines = Image.fromarray(around.astype(np.uint8) * 255)
        inner = left - start_x, top - start_y, right - start_x, bottom - start_y
        for (color, radius, _, _), alpha in zip(OUTLINE, alphas, strict=True):
            blurred = lines.filter(ImageFilter.BoxBlur(radius * line_width)).crop(inner)
            image.paste(color, (left, top, right, bottom), blurred.point(alpha))


def _flat_colors(index_map: np.ndarray, colors: Sequence[Color]) -> Image.Image:
    """Return an RGB image of each pixel's color; -1 is any color."""
    if len(colors) > 255:
        return Image.fromarray(np.array([*colors, (0, 0, 0)], np.uint8)[index_map])
    indices = Image.fromarray(index_map.astype(np.uint8))  # -1 is 255
    indices.putpalette(np.array([*colors, (0, 0, 0)], np.uint8).tobytes())
    return indices.convert("RGB")


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


def checked_image_and_map(image: np.ndarray, name: str, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, and a map of ids as an array of int32.

    Args:
        image: (H, W, 3) uint8, RGB.
        name: of the map, for the message.
        ids: (H, W) int.

    Returns:
        Both arrays.

    Raises:
        InputError: if one is no such array, their sizes differ, or an id is too large.
    """
    image, ids = checked_image(image), array(name, ids)
    if ids.dtype.kind not in "iu" or ids.shape != image.shape[:2]:
        raise InputError(f"{name} must be {image.shape[:2]} whole numbers, as its image, got {ids.shape} {ids.dtype}")
    if ids.max() > MAX_ID or ids.min() < -MAX_ID:
        raise InputError(f"{name} must hold numbers up to {MAX_ID}, got {ids.min()} to {ids.max()}")
    return image, ids.astype(np.int32, copy=False)

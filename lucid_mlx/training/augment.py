"""The original project's augmentations: large-scale jitter, random resize and crop, flips, color jitter.

Every random number is drawn from a generator that the caller gives, so that a sample can be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from lucid_mlx.data.dataset import Target
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.preprocessing.image_config import MAX_SIDE, RANGES, Size
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import FieldError, check_fields, check_value

PADDING_VALUE = 128  # of padded pixels, before normalization
CROP_ATTEMPTS = 10  # to find a crop that is not mostly of one class


class Sample(NamedTuple):
    """An augmented image with its ground truth.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        masks: (N, H, W) bool, empty ones among panoptic segments only.
        class_ids: (N,) int32.
    """

    pixels: np.ndarray
    masks: np.ndarray
    class_ids: np.ndarray


class Augmentation(Protocol):
    """Makes samples of one size. It can be pickled."""

    def __call__(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Sample:
        """Make a sample.

        Args:
            image: (H, W, 3) uint8, RGB.
            target: the ground truth of the image.
            rng: the source of all random numbers.

        Returns:
            The sample, without crowds. Masks that are empty now are left out too, unless `target.keeps_empty`: the
            original project keeps emptied segments, and drops emptied objects.
        """


@dataclass(frozen=True)
class LargeScaleJitter:
    """Resize the image to fit a square of random scale, then crop or pad it to `size`.

    The original's augmentation for COCO (`MIN_SCALE`, `MAX_SCALE` and `IMAGE_SIZE` of its configurations; paper, sec.
    4.1). As there, the position of the crop is random along the diagonal.

    Attributes:
        size: the side of the square samples, in pixels.
        min_scale: the smallest random scale; 1 fits the image into the sample.
        max_scale: the largest random scale; if both are 1, nothing is cropped.
        flip: mirror half of the images.
        color_jitter: change brightness, contrast, saturation and hue at random.

    Raises:
        FieldError: if a value is out of range, or the scales are not above 0 and in order.
    """

    size: int = 1024
    min_scale: float = 0.1
    max_scale: float = 2.0
    flip: bool = True
    color_jitter: bool = False

    def __post_init__(self) -> None:
        check_fields(self, {"size": (1, MAX_SIDE), "min_scale": (0, 100), "max_scale": (0, 100)})
        if self.min_scale <= 0:
            raise FieldError(f"min_scale must be above 0, got {self.min_scale}", "min_scale")
        if self.min_scale > self.max_scale:
            raise FieldError(
                f"min_scale must not be above max_scale, got {self.min_scale} and {self.max_scale}",
                "min_scale",
                "max_scale",
            )

    def __call__(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Sample:
        """Make a sample of `size`; arguments and result as of `Augmentation`."""
        flip = bool(self.flip and rng.random() < 0.5)
        scale = self.size * rng.uniform(self.min_scale, self.max_scale) / max(image.shape[:2])
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        fraction = rng.random()
        offset = (round(max(height - self.size, 0) * fraction), round(max(width - self.size, 0) * fraction))
        color_rng = rng if self.color_jitter else None
        return _resize_and_crop(image, target, flip, (height, width), offset, (self.size, self.size), color_rng)


def shortest_edges(side: int) -> tuple[int, ...]:
    """Return sixteen lengths from half to double a side, as the original configurations have (`MIN_SIZE_TRAIN`)."""
    check_value("side", side, int, 1, MAX_SIDE)
    return tuple(int(0.1 * tenths * side) for tenths in range(5, 21))


@dataclass(frozen=True)
class ResizeAndCrop:
    """Resize the shorter side to a random choice of lengths, then crop; a smaller image is padded to the crop's size.

    The original's augmentation for ADE20K, with the defaults here, and for Cityscapes, with `shortest_edges(1024)`,
    4096 and (512, 1024) (its files set `SINGLE_CATEGORY_MAX_AREA: 1.0` for both; mmsegmentation has 0.75).

    Attributes:
        shortest_edge: the lengths of the shorter side to choose from, in pixels.
        longest_edge: the limit of the longer side, in pixels.
        crop_size: height and width of the samples, in pixels.
        single_category_max_area: the largest fraction of a crop that one class should have; up to ten crops are tried.
            1 takes the first crop, as the original project does.
        color_jitter: change brightness, contrast, saturation and hue at random.

    Raises:
        FieldError: if a value is out of range.
    """

    shortest_edge: tuple[int, ...] = shortest_edges(512)
    longest_edge: int = 2048
    crop_size: Size = (512, 512)
    single_category_max_area: float = 1.0
    color_jitter: bool = True

    def __post_init__(self) -> None:
        check_fields(
            self,
            {
                "shortest_edge": RANGES["shortest_edge"],
                "longest_edge": RANGES["longest_edge"],
                "crop_size": RANGES["size"],
                "single_category_max_area": (0, 1),
            },
        )
        if not self.shortest_edge:
            raise FieldError("shortest_edge must be lengths of at least 1, got none", "shortest_edge")
        if len(self.crop_size) != 2:
            raise FieldError(f"crop_size must be a height and a width, got {shown(list(self.crop_size))}", "crop_size")

    def __call__(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Sample:
        """Make a sample of `crop_size`; arguments and result as of `Augmentation`."""
        flip = bool(rng.random() < 0.5)
        length = self.shortest_edge[rng.integers(len(self.shortest_edge))]
        image_config = ImageConfig(size=None, shortest_edge=length, longest_edge=self.longest_edge, divisor_mode="pad")
        height, width = image_config.content_size(*image.shape[:2])
        max_offset = (max(height - self.crop_size[0], 0), max(width - self.crop_size[1], 0))
        classes = target.class_map()[:, :: -1 if flip else 1] if self.single_category_max_area < 1 else None
        for _ in range(CROP_ATTEMPTS):
            offset = (int(rng.integers(max_offset[0] + 1)), int(rng.integers(max_offset[1] + 1)))
            if classes is None:
                break
            rows, columns = _source_indices(image.shape, (height, width), offset, self.crop_size)
            counts = np.bincount(classes[np.ix_(rows, columns)].ravel() + 1)[1:]  # without unknown pixels
            if np.count_nonzero(counts) > 1 and counts.max() < self.single_category_max_area * counts.sum():
                break
        color_rng = rng if self.color_jitter else None
        return _resize_and_crop(image, target, flip, (height, width), offset, self.crop_size, color_rng)


def ssd_color_jitter(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue, each with probability 0.5, as SSD does (Liu et al., 2016).

    Args:
        pixels: (H, W, 3) uint8, RGB.
        rng: the source of all random numbers.

    Returns:
        (H, W, 3) uint8.
    """
    brightness, contrast, saturation, hue, contrast_first = rng.random(5) < 0.5
    if brightness:
        pixels = _to_uint8(pixels.astype(np.float32) + np.float32(rng.uniform(-32, 32)))
    factor = np.float32(rng.uniform(0.5, 1.5))
    if contrast and contrast_first:
        pixels = _to_uint8(pixels * factor)
    if saturation or hue:
        hsv = np.array(Image.fromarray(pixels).convert("HSV"))
        if saturation:
            hsv[..., 1] = _to_uint8(hsv[..., 1] * np.float32(rng.uniform(0.5, 1.5)))
        if hue:  # the original adds up to 18 of 180 steps; Pillow's hue has 256
            hsv[..., 0] += np.uint8(round(int(rng.integers(-18, 19)) * 256 / 180) % 256)
        pixels = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    if contrast and not contrast_first:
        pixels = _to_uint8(pixels * factor)
    return pixels


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)


def _resize_and_crop(
    image: np.ndarray,
    target: Target,
    flip: bool,
    size: Size,
    offset: Size,
    crop_size: Size,
    color_rng: np.random.Generator | None,
) -> Sample:
    """Mirror, resize to a size, crop at an offset, and pad; only the pixels of the crop are made of the masks."""
    rows, columns = _source_indices(image.shape, size, offset, crop_size)
    pixels = np.full((*crop_size, 3), PADDING_VALUE, np.uint8)
    # Pillow resizes a box of the image as it would resize the whole, without computing what is cropped.
    scale = (image.shape[0] / size[0], image.shape[1] / size[1])
    box = (
        offset[1] * scale[1],
        offset[0] * scale[0],
        min((offset[1] + len(columns)) * scale[1], image.shape[1]),
        min((offset[0] + len(rows)) * scale[0], image.shape[0]),
    )
    picture = Image.fromarray(np.ascontiguousarray(image[:, :: -1 if flip else 1]))
    resized = np.asarray(picture.resize((len(columns), len(rows)), Image.Resampling.BILINEAR, box))
    pixels[: len(rows), : len(columns)] = resized if color_rng is None else ssd_color_jitter(resized, color_rng)
    masks = np.zeros((len(target.masks), *crop_size), bool)
    target.fill(masks[:, : len(rows), : len(columns)], rows, image.shape[1] - 1 - columns if flip else columns)
    kept = np.array([target.keeps_empty or mask.any() for mask in masks], bool) & ~target.crowd
    return Sample(pixels, _take(masks, kept), target.class_ids[kept].astype(np.int32))


def _take(masks: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return some of the masks, without a copy of all."""
    for new, old in enumerate(np.flatnonzero(kept)):
        if new != old:
            masks[new] = masks[old]
    return masks[: np.count_nonzero(kept)]


def _source_indices(shape: Sequence[int], size: Size, offset: Size, crop_size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the original image in a crop of the resized one, by nearest neighbor."""
    rows, columns = (
        ((np.arange(start, min(start + length, new)) + 0.5) * old / new).astype(int)
        for old, new, start, length in zip(shape, size, offset, crop_size, strict=False)
    )
    return rows, columns

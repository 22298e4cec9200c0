"""The original project's augmentation: large-scale jitter, scale and crop, flips, colors.

Every random decision is drawn from a generator that the caller gives, so that a sample can be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from lucid_mlx.data.dataset import Target
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.preprocessing.image_config import Size

GRAY = 128  # what is padded, before normalization
TRIALS = 10  # at a crop that is not mostly of one class


class Sample(NamedTuple):
    """What a network is trained on.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        masks: (N, H, W) bool, none of them empty.
        class_ids: (N,) int32.
    """

    pixels: np.ndarray
    masks: np.ndarray
    class_ids: np.ndarray


class Augmentation(Protocol):
    """Makes samples of one size; it can be pickled."""

    def __call__(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Sample:
        """Make a sample of an image, (H, W, 3) uint8, and its target."""


@dataclass(frozen=True)
class LargeScaleJitter:
    """Resize to fit a square that is scaled at random, then crop or pad to the square.

    The original's for COCO (`MIN_SCALE`, `MAX_SCALE` and `IMAGE_SIZE` of its configurations; paper, sec. 4.1). As
    there, a crop that is smaller than the image moves along the diagonal.

    Attributes:
        size: of a side of the samples, in pixels.
        min_scale, max_scale: bounds of the random scale; both 1 to keep everything in sight.
        flip: whether to mirror every other image.
        color: whether to change colors, by `ssd_color`.

    Raises:
        InputError: for a size below 1, or scales that are not above 0 and rising.
    """

    size: int = 1024
    min_scale: float = 0.1
    max_scale: float = 2.0
    flip: bool = True
    color: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.min_scale <= self.max_scale:
            raise InputError(
                f"samples need a size of at least 1 and scales above 0 that rise, got {self.size} and "
                f"{self.min_scale} to {self.max_scale}"
            )

    def __call__(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Sample:
        """Make a (size, size) sample of an image, (H, W, 3) uint8, and its target."""
        image, target = _flipped(image, target) if self.flip and rng.random() < 0.5 else (image, target)
        scale = self.size * rng.uniform(self.min_scale, self.max_scale) / max(image.shape[:2])
        height, width = (max(round(side * scale), 1) for side in image.shape[:2])
        along = rng.random()
        corner = (round(max(height - self.size, 0) * along), round(max(width - self.size, 0) * along))
        return _cut(image, target, (height, width), corner, (self.size, self.size), rng if self.color else None)


def lengths(side: int) -> tuple[int, ...]:
    """Return the half to the double of a length in sixteen steps, as the original configurations have them."""
    return tuple(int(0.1 * tenths * side) for tenths in range(5, 21))


@dataclass(frozen=True)
class ScaleAndCrop:
    """Resize the shorter side to one of some lengths, then crop; what the crop has more than the image is padded.

    The original's for ADE20K, with the defaults here, and for Cityscapes, with `lengths(1024)`, 4096 and (512, 1024).

    Attributes:
        shortest: lengths for the shorter side, of which one is drawn.
        longest: the most that the longer side may become.
        crop: height and width of the samples.
        most: the largest part of a crop that one class should have; up to ten crops are tried. 1 for any crop, as the
            original project does it where instances are what is looked for.
        color: whether to change colors, by `ssd_color`.

    Raises:
        InputError: for lengths or sizes below 1.
    """

    shortest: tuple[int, ...] = lengths(512)
    longest: int = 2048
    crop: Size = (512, 512)
    most: float = 0.75
    color: bool = True

    def __post_init__(self) -> None:
        if min((*self.shortest, self.longest, *self.crop), default=0) < 1 or not self.shortest:
            raise InputError(
                f"lengths and sizes must be at least 1, got {self.shortest}, {self.longest} and {self.crop}"
            )

    def __call__(self, image: np.ndarray, target: Target, rng: np.random.Generator) -> Sample:
        """Make a sample of the crop's size of an image, (H, W, 3) uint8, and its target."""
        image, target = _flipped(image, target) if rng.random() < 0.5 else (image, target)
        length = self.shortest[rng.integers(len(self.shortest))]
        image_config = ImageConfig(size=None, shortest_edge=length, longest_edge=self.longest, divide="pad")
        height, width = image_config.content_size(*image.shape[:2])
        room = (max(height - self.crop[0], 0), max(width - self.crop[1], 0))
        classes = target.class_map() if self.most < 1 else None
        for _ in range(TRIALS):
            corner = (int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1)))
            if classes is None:
                break
            rows, columns = _places(image.shape, (height, width), corner, self.crop)
            counts = np.bincount(classes[np.ix_(rows, columns)].ravel() + 1)[1:]  # without what is unknown
            if np.count_nonzero(counts) > 1 and counts.max() < self.most * counts.sum():
                break
        return _cut(image, target, (height, width), corner, self.crop, rng if self.color else None)


def ssd_color(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue, each in half of the cases, as SSD does (Liu et al., 2016).

    Args:
        pixels: (H, W, 3) uint8, RGB.
        rng: the source of what is random.

    Returns:
        (H, W, 3) uint8.
    """
    brightness, contrast, saturation, hue, contrast_first = rng.random(5) < 0.5
    if brightness:
        pixels = _truncated(pixels.astype(np.float32) + np.float32(rng.uniform(-32, 32)))
    factor = np.float32(rng.uniform(0.5, 1.5))
    if contrast and contrast_first:
        pixels = _truncated(pixels * factor)
    if saturation or hue:
        hsv = np.array(Image.fromarray(pixels).convert("HSV"))
        if saturation:
            hsv[..., 1] = _truncated(hsv[..., 1] * np.float32(rng.uniform(0.5, 1.5)))
        if hue:  # the original's 18 are of 180, Pillow's circle has 256
            hsv[..., 0] += np.uint8(round(int(rng.integers(-18, 19)) * 256 / 180) % 256)
        pixels = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    if contrast and not contrast_first:
        pixels = _truncated(pixels * factor)
    return pixels


def _truncated(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)


def _flipped(image: np.ndarray, target: Target) -> tuple[np.ndarray, Target]:
    return image[:, ::-1], target._replace(masks=target.masks[..., ::-1])


def _cut(
    image: np.ndarray, target: Target, size: Size, corner: Size, out: Size, color: np.random.Generator | None
) -> Sample:
    """Resize to a size, cut out what begins at a corner of that, and pad it; crowds and what is out of sight go."""
    rows, columns = _places(image.shape, size, corner, out)
    pixels = np.full((*out, 3), GRAY, np.uint8)
    # Pillow resizes a part as it would resize the whole: nothing that is cut off is computed.
    scale = (image.shape[0] / size[0], image.shape[1] / size[1])
    box = (
        corner[1] * scale[1],
        corner[0] * scale[0],
        min((corner[1] + len(columns)) * scale[1], image.shape[1]),
        min((corner[0] + len(rows)) * scale[0], image.shape[0]),
    )
    whole = Image.fromarray(np.ascontiguousarray(image))
    resized = np.asarray(whole.resize((len(columns), len(rows)), Image.Resampling.BILINEAR, box))
    pixels[: len(rows), : len(columns)] = resized if color is None else ssd_color(resized, color)
    shown = target.masks[:, rows][..., columns]
    kept = shown.any(axis=(1, 2)) & ~target.crowd
    masks = np.zeros((np.count_nonzero(kept), *out), bool)
    masks[:, : len(rows), : len(columns)] = shown[kept]
    return Sample(pixels, masks, target.class_ids[kept].astype(np.int32))


def _places(shape: Sequence[int], size: Size, corner: Size, out: Size) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows and columns of an image the pixels of a cut show, by Pillow's nearest neighbors."""
    rows, columns = (
        ((np.arange(start, min(start + most, new)) + 0.5) * old / new).astype(int)
        for old, new, start, most in zip(shape, size, corner, out, strict=False)
    )
    return rows, columns

"""How the picture moves from frame to frame, and where a film is cut."""

from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

PIXELS = 4096  # of the small picture that frames are compared by, about
DETAIL = 5  # side of the blur that is subtracted from it, so that details are compared and not the light
NOISE = 2.0  # levels, of 255: weaker details are none
LEAST_OVERLAP = 0.35  # of the picture, which a shift must leave
PLACE = 8  # side of the places that are compared one by one, in pixels of the small picture
SAME_DETAIL, SAME_COLOR = 0.5, 25.0  # correlation at least, and difference in levels at most, of a place in two frames
SAME_MEAN, SAME_STRENGTH = 5.0, 0.5  # or: difference of mean colors at most, and ratio of the power of details at least
SAME_SHOT = 0.25  # share of the places that are the same, at least, in frames of one shot
SAME_PICTURE = 0.8  # correlation of all details that is enough, however the light changes


class Motion(NamedTuple):
    """What happened between two frames.

    Attributes:
        cut: whether another shot begins.
        shift: how far what is seen has moved, (down, right), in parts of the picture's height and width.
    """

    cut: bool
    shift: tuple[float, float]


class Camera:
    """Compares each frame with the one before it, when both are small.

    The shift is that with the largest normalized cross-correlation of details (Padfield 2012). Two frames are of one
    shot if, moved by it or not at all, a quarter of the places agree in details and colors, as they do beside something
    large that appears. Frames of other shots rarely agree in a tenth.
    """

    def __init__(self) -> None:
        self._previous: _Small | None = None

    def update(self, image: np.ndarray) -> Motion:
        """Compare the next frame with the one before.

        Args:
            image: (h, w, 3) uint8, RGB: the frame, as small as it is at hand.

        Returns:
            The motion. The first frame begins a shot, and so does one of another size.
        """
        previous, small = self._previous, _Small(_shrink(image))
        self._previous = small
        if previous is None or previous.colors.shape != small.colors.shape:
            return Motion(True, (0.0, 0.0))
        correlation, (down, right) = previous.best_shift(small)
        same = max(previous.share_of_same_places(small, *shift) for shift in ((down, right), (0, 0)))
        if same < SAME_SHOT and correlation < SAME_PICTURE:
            return Motion(True, (0.0, 0.0))
        height, width = small.colors.shape[:2]
        return Motion(False, (down / height, right / width))


class _Small:
    """A small picture: its colors, (h, w, 3) float32, its details, (h, w), and the spectra that shifts are found by."""

    def __init__(self, colors: np.ndarray):
        gray = colors.mean(axis=2)
        self.colors, self.details = colors, gray - ndimage.uniform_filter(gray, DETAIL)
        self._shape = tuple(fft.next_fast_len(2 * side - 1, real=True) for side in gray.shape)
        parts = self.details, self.details**2, np.ones_like(gray)
        self._spectra = [fft.rfft2(part, self._shape) for part in parts]

    def best_shift(self, other: "_Small") -> tuple[float, tuple[int, int]]:
        """Return the largest correlation of details, and how far the other picture shows them (down, right)."""
        (one, one_squares, area), (two, two_squares, _) = self._spectra, other._spectra
        # Entry d of each is a sum over all x that both pictures have, such as other[x + d] * self[x].
        pairs = ((two, one), (two_squares, area), (area, one_squares), (area, area))
        both, squares, own_squares, common = (fft.irfft2(a * np.conj(b), self._shape) for a, b in pairs)
        correlation = both / np.sqrt(
            (np.maximum(squares, 0.0) + common) * (np.maximum(own_squares, 0.0) + common) + 1.0
        )
        height, width = self.details.shape
        correlation[common < LEAST_OVERLAP * height * width - 0.5] = -1.0
        place = np.unravel_index(correlation.argmax(), correlation.shape)
        down, right = (
            int(at) if at < side else int(at) - length
            for at, side, length in zip(place, (height, width), self._shape, strict=True)
        )
        return float(correlation[place]), (down, right)

    def share_of_same_places(self, other: "_Small", down: int, right: int) -> float:
        """Compare two pictures place by place.

        Args:
            other: a picture of the same size.
            down: how far it shows what this one shows, in pixels.
            right: the same along the rows.

        Returns:
            The share of the places that both have, 0 to 1, in which details correlate and colors differ little, or
            which have the same mean color and details as strong, as noise has.
        """
        height, width = self.details.shape
        here = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
        there = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
        details, other_details = self.details[here], other.details[there]
        power, other_power = (_means(each**2) + NOISE**2 for each in (details, other_details))
        correlation = (_means(details * other_details) + NOISE**2) / np.sqrt(power * other_power)
        colors = self.colors[here] - other.colors[there]
        difference, mean_difference = _means(np.abs(colors)).max(axis=2), np.abs(_means(colors)).max(axis=2)
        weaker, stronger = np.minimum(power, other_power), np.maximum(power, other_power)
        same = (correlation > SAME_DETAIL) & (difference < SAME_COLOR)
        noise = (mean_difference < SAME_MEAN) & (weaker > SAME_STRENGTH * stronger) & (weaker > 4 * NOISE**2)
        return float((same | noise).mean())


def _means(x: np.ndarray) -> np.ndarray:
    """Return the means of all places, which overlap by half: (h, w, ...) -> (rows, columns, ...)."""
    size = (PLACE, PLACE) + (1,) * (x.ndim - 2)
    start, step = (min(PLACE // 2, side - 1) for side in x.shape[:2]), PLACE // 2
    rows, columns = (slice(first, None, step) for first in start)
    means: np.ndarray = ndimage.uniform_filter(x, size)[rows, columns]
    return means


def _shrink(image: np.ndarray) -> np.ndarray:
    """Average blocks of pixels, so that about `PIXELS` are left, (h, w, 3) float32."""
    factor = max(1, round((image.shape[0] * image.shape[1] / PIXELS) ** 0.5))
    rows, columns = min(factor, image.shape[0]), min(factor, image.shape[1])
    height, width = image.shape[0] // rows, image.shape[1] // columns
    blocks = image[: height * rows, : width * columns].astype(np.float32).reshape(height, rows, width, columns, 3)
    return blocks.mean(axis=(1, 3))

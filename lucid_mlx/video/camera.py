"""How the picture moves from frame to frame, and where a film is cut."""

from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

PIXELS = 4096  # of the small picture that frames are compared by, about
DETAIL = 5  # side of the blur that is subtracted from it, so that details are compared and not the light
LEAST_OVERLAP = 0.35  # of the picture, which a shift must leave
SAME_LEVELS = 30.0  # pixels that differ by less, of 255, are alike
NOISE = 2.0  # levels: weaker details are alike
SAME_SHOT = 1.2  # correlation of details + share of pixels that are alike, at least, of frames of one shot
SAME_DETAIL = 0.8  # correlation of details alone that is enough, however the light changes


class Motion(NamedTuple):
    """What happened between two frames.

    Attributes:
        cut: whether another shot begins.
        shift: how far what is seen has moved, (down, right), in parts of the picture's height and width.
    """

    cut: bool
    shift: tuple[float, float]


class Camera:
    """Compares each frame with the one before it.

    Two frames are of one shot if, moved over each other in the best way, details agree (their normalized
    cross-correlation, Padfield 2012) and so do the colors of most pixels.
    """

    def __init__(self) -> None:
        self._previous: _Small | None = None

    def update(self, image: np.ndarray) -> Motion:
        """Compare the next frame with the one before.

        Args:
            image: (h, w, 3) float32 or uint8, RGB, 0 to 255: the frame, as small as it is at hand.

        Returns:
            The motion. The first frame begins a shot, and so does one of another size.
        """
        previous, small = self._previous, _Small(_shrink(image))
        self._previous = small
        if previous is None or previous.colors.shape != small.colors.shape:
            return Motion(True, (0.0, 0.0))
        detail, plain_detail, (down, right) = previous.best_shift(small)
        alike = max(_alike(previous.colors, small.colors, down, right), _alike(previous.colors, small.colors, 0, 0))
        height, width = small.colors.shape[:2]
        cut = detail + alike < SAME_SHOT and plain_detail < SAME_DETAIL
        return Motion(cut, (0.0, 0.0) if cut else (down / height, right / width))


class _Small:
    """A small picture: its colors, (h, w, 3) float32, and the spectra of its details and their squares."""

    def __init__(self, colors: np.ndarray):
        self.colors = colors
        gray = colors.mean(axis=2)
        details = gray - ndimage.uniform_filter(gray, DETAIL)
        self._shape = tuple(fft.next_fast_len(2 * side - 1, real=True) for side in gray.shape)
        self._spectra = [fft.rfft2(x, self._shape) for x in (details, details * details, np.ones_like(details))]

    def best_shift(self, other: "_Small") -> tuple[float, float, tuple[int, int]]:
        """Find how far the other picture shows the details of this one.

        Args:
            other: a picture of the same size.

        Returns:
            The largest correlation of details, of which noise is none; the plain correlation there; and how far (down,
            right).
        """
        (one, one_squared, area), (two, two_squared, _) = self._spectra, other._spectra
        # Entry d of these sums over all x that both have: other[x + d] * self[x].
        pairs = ((two, one), (two_squared, area), (area, one_squared), (area, area))
        both, squares, own_squares, common = (fft.irfft2(a * np.conj(b), self._shape) for a, b in pairs)
        height, width = self.colors.shape[:2]
        noise = NOISE**2 * common
        products = np.maximum(squares, 0.0), np.maximum(own_squares, 0.0)
        correlation = (both + noise) / np.sqrt((products[0] + noise + 1.0) * (products[1] + noise + 1.0))
        correlation[common < LEAST_OVERLAP * height * width - 0.5] = -1.0
        place = np.unravel_index(correlation.argmax(), correlation.shape)
        down, right = (
            int(at) if at < side else int(at) - length
            for at, side, length in zip(place, (height, width), self._shape, strict=True)
        )
        plain = both[place] / (1.0 + np.sqrt(products[0][place] * products[1][place]))
        return float(correlation[place]), float(plain), (down, right)


def _shrink(image: np.ndarray) -> np.ndarray:
    """Average blocks of pixels, so that about `PIXELS` are left."""
    factor = max(1, round((image.shape[0] * image.shape[1] / PIXELS) ** 0.5))
    height, width = (max(1, side // factor) for side in image.shape[:2])
    rows, columns = min(factor, image.shape[0]), min(factor, image.shape[1])
    blocks = image[: height * rows, : width * columns].astype(np.float32).reshape(height, rows, width, columns, 3)
    return blocks.mean(axis=(1, 3))


def _alike(before: np.ndarray, after: np.ndarray, down: int, right: int) -> float:
    """Return the share of pixels, of those that both pictures show, whose colors are alike after a shift."""
    height, width = before.shape[:2]
    rows, columns = slice(max(0, down), height + min(0, down)), slice(max(0, right), width + min(0, right))
    back = before[rows.start - down : rows.stop - down, columns.start - right : columns.stop - right]
    return float((np.abs(after[rows, columns] - back).max(axis=2) < SAME_LEVELS).mean())

"""Colors of a video's frames: BT.709 of 8 bits, whatever the video has."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

# FFmpeg's numbers of color spaces and transfer characteristics (ITU-T H.273).
UNSPECIFIED = 2
PQ, HLG = 16, 18
HD_HEIGHT = 720  # players take a video of unspecified color space for BT.709 from this height on

DIFFUSE_WHITE = 203.0  # nits of a white that reflects; above it are highlights (BT.2408, table 1)
HLG_PEAK = 1000.0  # nits of the nominal display, for which HLG's system gamma is 1.2 (BT.2100, table 5)
DISPLAY_GAMMA = 2.4  # of an SDR display (BT.1886)
KNEE = 0.962  # SDR signal above which highlights are compressed: diffuse white becomes 250 of 255
# From linear BT.2020 to linear BT.709: the inverse of equation 3 in BT.2087, to the digits of the primaries.
TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)
BLOCK = 1 << 14  # pixels that are converted together: their arrays stay in the cache, and BLAS starts no threads
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


class ColorConverter:
    """Converts frames to RGB of one size. HDR (HLG and PQ) becomes SDR; an alpha channel becomes white paper below.

    One thread at a time may use it: it keeps FFmpeg's tables from frame to frame.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter: VideoReformatter = VideoReformatter()

    def to_rgb(self, frame: "av.VideoFrame", width: int, height: int) -> np.ndarray:
        """Return the pixels of a frame.

        Args:
            frame: any frame.
            width: of the result. A frame of another size is scaled; what its shape leaves free is black.
            height: of the result.

        Returns:
            (height, width, 3) uint8, RGB.
        """
        scale = min(width / frame.width, height / frame.height)
        fitted = max(1, min(width, round(scale * frame.width))), max(1, min(height, round(scale * frame.height)))
        if frame.color_trc in (PQ, HLG):
            pixels = self._hdr_to_rgb(frame, *fitted)
        elif any(component.is_alpha for component in frame.format.components):
            rgba = self._pixels(frame, "rgba", *fitted).astype(np.uint16)
            alpha = rgba[..., 3:]
            pixels = ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        else:
            pixels = self._pixels(frame, "rgb24", *fitted)
        if fitted == (width, height):
            return pixels
        padded = np.zeros((height, width, 3), np.uint8)
        top, left = (height - fitted[1]) // 2, (width - fitted[0]) // 2
        padded[top : top + fitted[1], left : left + fitted[0]] = pixels
        return padded

    def _pixels(self, frame: "av.VideoFrame", pixel_format: str, width: int, height: int) -> np.ndarray:
        from av.video.reformatter import Colorspace

        colorspace = None
        if frame.colorspace == UNSPECIFIED:
            if frame.color_trc in (PQ, HLG):
                colorspace = Colorspace.BT2020
            elif frame.height >= HD_HEIGHT:
                colorspace = Colorspace.ITU709
        converted = self._reformatter.reformat(frame, width, height, pixel_format, src_colorspace=colorspace)
        pixels: np.ndarray = converted.to_ndarray()
        return pixels

    def _hdr_to_rgb(self, frame: "av.VideoFrame", width: int, height: int) -> np.ndarray:
        """Return the pixels of an HDR frame, (height, width, 3) uint8: to linear light, to BT.709, to a display."""
        signal = self._pixels(frame, "gbrp16le", width, height).reshape(-1, 3)  # 5 times as fast as to rgb48le
        to_linear, to_signal = _to_linear(frame.color_trc, _white(frame)), _to_sdr_signal()
        result = np.empty(signal.shape, np.uint8)
        for first in range(0, len(signal), BLOCK):
            block = slice(first, first + BLOCK)
            linear = to_linear.take(signal[block]) @ TO_BT709.T
            result[block] = to_signal.take(linear.view(np.uint16)[:, 1::2])
        return result.reshape(height, width, 3)


def _white(frame: "av.VideoFrame") -> int:
    """Return the number that FFmpeg makes of the signal 1 when it converts a frame to 16 bits: it shifts bits."""
    if frame.format.is_rgb or frame.color_range == FULL_RANGE:
        bits = frame.format.components[0].bits
        return ((1 << bits) - 1) << (16 - bits)
    return 255 << 8


@lru_cache
def _to_linear(transfer: int, white: int) -> np.ndarray:
    """Return the light on the display that each number of 16 bits stands for, (65536,) float32; 1 is diffuse white."""
    return (signal_to_light(np.arange(1 << 16) / white, transfer) / DIFFUSE_WHITE).astype(np.float32)


def signal_to_light(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Return the light that a signal stands for.

    Args:
        signal: of a color, 0 to 1, of any shape.
        transfer: PQ or HLG.

    Returns:
        The light on the display in nits, of the same shape. In HLG the system gamma is applied to each color alone, as
        zimg (FFmpeg's zscale) does, and not to their luminance.
    """
    if transfer == PQ:  # BT.2100, table 4
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = signal ** (1 / m2)
        light: np.ndarray = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
        return light
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # BT.2100, table 5
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return HLG_PEAK * scene**1.2


@lru_cache
def _to_sdr_signal() -> np.ndarray:
    """Return the signal of each light, (65536,) uint8, by the upper half of the float32 that the light is.

    These have 8 significant bits: half of the last one is an error of 0.2 % of the light, of 0.2 levels of the signal.
    """
    bits = (np.arange(1 << 16, dtype=np.uint32) << 16) + (1 << 15)
    with np.errstate(invalid="ignore"):  # some are no numbers
        light = np.nan_to_num(bits.view(np.float32).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.round(255 * light_to_sdr(light)).astype(np.uint8)


def light_to_sdr(light: np.ndarray) -> np.ndarray:
    """Return the SDR signal that shows a light.

    Args:
        light: of a color on the display, 1 for diffuse white, of any shape. Negative ones are outside of BT.709.

    Returns:
        The signal, 0 to 1: that of BT.1886 up to `KNEE`, and above it a curve that goes on with the same slope, always
        rises, and approaches 1.
    """
    signal = np.maximum(light, 0.0) ** (1 / DISPLAY_GAMMA)
    above = np.maximum(signal - KNEE, 0.0) / (1 - KNEE)
    compressed: np.ndarray = np.minimum(signal, KNEE) + (1 - KNEE) * above / (1 + above)
    return compressed

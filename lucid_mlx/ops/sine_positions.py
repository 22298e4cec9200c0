"""Sine position embeddings of a map, and of the maps of a clip's frames."""

from functools import lru_cache

import mlx.core as mx
import numpy as np

TEMPERATURE = 10000


@lru_cache(maxsize=64)
def _encode(count: int, channels: int) -> mx.array:
    """Encode the places along one axis, (count, channels) float32."""
    wavelengths = TEMPERATURE ** (2 * (np.arange(channels) // 2) / channels)
    places = np.arange(1, count + 1) / (count + 1e-6) * 2 * np.pi
    angles = places[:, None] / wavelengths
    table = np.stack([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=-1).reshape(count, channels)
    return mx.array(table.astype(np.float32))


def sine_positions(
    height: int, width: int, channels: int, dtype: mx.Dtype = mx.float32, frames: int | None = None
) -> mx.array:
    """Return the normalized sine embedding of each cell of a map, rows first.

    Row and column numbers count from 1, are divided by (last + 1e-6) and scaled to 2 pi; the first half of the
    channels encodes the row, the second the column, sine and cosine in turn (DETR, appendix A.4). In a clip the number
    of the frame, encoded in the same way by all channels, is added (Cheng et al. 2021, "Mask2Former for video instance
    segmentation").

    Args:
        height: rows of the map.
        width: columns of the map.
        channels: size of the embedding, a multiple of 4.
        dtype: of the result; what is computed is float32.
        frames: of a clip; None for an image.

    Returns:
        (height * width, channels), or (frames * height * width, channels) of a clip.
    """
    half = channels // 2
    rows = mx.broadcast_to(_encode(height, half).astype(dtype)[:, None], (height, width, half))
    columns = mx.broadcast_to(_encode(width, half).astype(dtype)[None], (height, width, half))
    positions = mx.concatenate([rows, columns], axis=-1)
    if frames is not None:
        positions = positions + _encode(frames, channels).astype(dtype)[:, None, None]
    return positions.reshape(-1, channels)

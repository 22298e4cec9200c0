"""Compressed masks: some kilobytes each. A hundred uncompressed masks would take 2.4 GB at 6000x4000."""

import zlib

import numpy as np


def pack(mask: np.ndarray) -> bytes:
    """Compress a mask, (H, W) bool."""
    return zlib.compress(np.packbits(mask).data, level=1)


def unpack(packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decompress a mask.

    Args:
        packed: what `pack` returned.
        shape: the mask's shape, (H, W).

    Returns:
        (H, W) bool.
    """
    bits = np.frombuffer(zlib.decompress(packed), np.uint8)
    return np.unpackbits(bits, count=shape[0] * shape[1]).view(bool).reshape(shape)

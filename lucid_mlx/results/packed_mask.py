"""Masks in some kilobytes each: a hundred of them as they are would take 2.4 GB at 6000x4000."""

import zlib

import numpy as np


def pack(mask: np.ndarray) -> bytes:
    """Compress a mask, (H, W) bool."""
    return zlib.compress(np.packbits(mask).data, level=1)


def unpack(packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return a packed mask, bool, of the shape that it had."""
    bits = np.frombuffer(zlib.decompress(packed), np.uint8)
    return np.unpackbits(bits, count=shape[0] * shape[1]).view(bool).reshape(shape)

"""Compressed masks: some kilobytes each. A hundred uncompressed masks would take 2.4 GB at 6000x4000."""

import zlib

import numpy as np


def pack(mask: np.ndarray) -> bytes:
    """Compress a mask, (H, W) bool."""
    return zlib.compress(np.packbits(mask).data, level=1)


def pack_crop(mask: np.ndarray, box: tuple[int, int, int, int], shape: tuple[int, int]) -> bytes:
    """Compress a mask of which a part is given, and the rest is False, without making it whole.

    Args:
        mask: (h, w) bool.
        box: (left, top, right, bottom), where it lies.
        shape: (H, W), the shape of the whole.

    Returns:
        What `pack` returns for the whole.
    """
    left, top, right, bottom = box
    first = top - top % 8  # eight rows begin with a whole byte
    rows = np.zeros((bottom - first, shape[1]), bool)
    rows[top - first :, left:right] = mask
    bits, start = np.zeros(-(-shape[0] * shape[1] // 8), np.uint8), first * shape[1] // 8
    part = np.packbits(rows)
    bits[start : start + len(part)] = part
    return zlib.compress(bits.data, level=1)


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

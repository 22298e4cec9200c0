"""PNG files that are written row by row: Pillow needs the whole picture in memory."""

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

SUB = 1  # the filter: what is stored is the difference to the pixel on the left


def write_png(file: BinaryIO, width: int, height: int, strips: Iterable[np.ndarray]) -> None:
    """Write an RGB picture (https://www.w3.org/TR/png-3/).

    Args:
        file: what to write to.
        width: in pixels.
        height: in pixels.
        strips: its rows from top to bottom, (n, width, 3) uint8 each.
    """
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    compressor = zlib.compressobj(level=1)
    for strip in strips:
        rows = np.empty((len(strip), 1 + 3 * width), np.uint8)
        rows[:, 0] = SUB
        rows[:, 1:] = strip.reshape(len(strip), -1)
        rows[:, 4:] -= strip.reshape(len(strip), -1)[:, :-3]
        _write_chunk(file, b"IDAT", compressor.compress(rows.data))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

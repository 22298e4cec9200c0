"""PNG files whose pixels are whole, whatever their texts and profiles are like."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE = 16 << 20  # bytes of a color profile, which is what a JPEG can hold
MAX_CHUNK = 16 << 20  # of what is not pixels; what is larger is skipped unread
MAX_TEXTS = 4 << 20  # bytes of all texts
MAX_CHUNKS = 1_000_000
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")


def open_png(file: Path | BinaryIO) -> Image.Image:
    """Open a PNG without the chunks beside its pixels that are damaged, or larger than Pillow takes.

    Pillow refuses the whole picture for one of them. Its limits are settings of the process, and stay as they are.

    Args:
        file: a path, or a file that can seek, at its start.

    Returns:
        The image. Anything that Pillow raises passes through.
    """
    opened = file.open("rb") if isinstance(file, Path) else file
    try:
        chunks = _chunks(opened)
        skipped, profile = _check(opened, chunks)
        opened.seek(0)
        if not skipped:
            image = Image.open(file)
        else:
            image = Image.open(_without(opened, chunks, skipped))
            if profile is not None:
                image.info["icc_profile"] = profile
        return image
    finally:
        if opened is not file:
            opened.close()


def _chunks(file: BinaryIO) -> list[tuple[bytes, int, int]]:
    """Return name, start of the data and length of each chunk, up to the last that is whole."""
    end = file.seek(0, 2)
    start = len(SIGNATURE)
    chunks: list[tuple[bytes, int, int]] = []
    while start + 12 <= end:
        if len(chunks) == MAX_CHUNKS:
            raise ValueError(f"it has more than {MAX_CHUNKS} chunks")
        file.seek(start)
        length, name = struct.unpack(">I4s", file.read(8))
        chunks.append((name, start + 8, length))
        start += 12 + length
        if name == b"IEND":
            break
    return chunks


def _check(file: BinaryIO, chunks: list[tuple[bytes, int, int]]) -> tuple[set[int], bytes | None]:
    """Return the starts of chunks to leave out, and a color profile among them."""
    skipped: set[int] = set()
    profile, profiles, texts = None, 0, 0
    most = PngImagePlugin.MAX_TEXT_CHUNK
    for name, start, length in chunks:
        if not name[:1].islower() or name in _ANIMATION:
            continue
        file.seek(start)
        data = file.read(length + 4) if length <= MAX_CHUNK else b""
        if len(data) < length + 4 or zlib.crc32(name + data[:-4]) != int.from_bytes(data[-4:], "big"):
            skipped.add(start)
        elif name == b"iCCP":
            profiles += 1
            unpacked = _unpacked(data[:-4].partition(b"\0")[2][1:], MAX_PROFILE) if profiles == 1 else None
            if unpacked is None or len(unpacked) > most:
                skipped.add(start)
                profile = profile or unpacked
        elif name in _TEXTS:
            unpacked = None
            if texts <= MAX_TEXTS:  # beyond that nothing is unpacked
                packed = _packed_text(name, data[:-4])
                unpacked = data if packed is None else _unpacked(packed, most)
            texts += most if unpacked is None else len(unpacked)
            if unpacked is None or texts > MAX_TEXTS:
                skipped.add(start)
    return skipped, profile


def _packed_text(name: bytes, data: bytes) -> bytes | None:
    """Return the compressed part of a text chunk; None if it has none."""
    _, _, rest = data.partition(b"\0")  # after the keyword
    if name == b"iTXt" and rest.startswith(b"\1"):
        return rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated keyword
    return rest[1:] if name == b"zTXt" else None


def _unpacked(packed: bytes, most: int) -> bytes | None:
    """Return what was compressed; None if it is damaged, or has more bytes than `most`."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, most)
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail else unpacked


def _without(file: BinaryIO, chunks: list[tuple[bytes, int, int]], skipped: set[int]) -> BinaryIO:
    """Return a copy of a PNG without some chunks, and without further frames of an animation."""
    copy = BytesIO()
    copy.write(SIGNATURE)
    for name, start, length in chunks:
        if start not in skipped and name not in _ANIMATION:
            file.seek(start - 8)
            copy.write(file.read(length + 12))
    copy.seek(0)
    return copy

"""Pictures: small files of every format that Pillow writes here, damaged and with headers that lie."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz.nasty import STRINGS, damaged
from fuzz.worker import Target, Wrong, command_line, digest
from PIL import Image

from lucid_mlx.preprocessing import read_image

SIDES = (0, 1, 5, 9, 1000, 5000, 65535, 2**16, 10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
MODES = {
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "JPEG": ("RGB", "L", "CMYK"), "BMP": ("RGB", "P", "L", "1",
        "RGBA"),
    "GIF": ("P", "RGB", "L"), "TIFF": ("RGB", "RGBA", "L", "1", "P", "I;16", "I", "F", "CMYK", "LAB", "YCbCr"),
    "WEBP": ("RGB", "RGBA"), "PPM": ("RGB", "L", "1", "I;16", "F"), "TGA": ("RGB", "RGBA", "L", "P"), "ICO": ("RGBA",),
    "PCX": ("RGB", "P", "L"),
    "SGI": ("RGB", "L"), "JPEG2000": ("RGB", "L", "RGBA"), "DDS": ("RGBA", "RGB"), "IM": ("RGB", "F", "I;16"),
    "XBM": ("1",), "MSP": ("1",),
    "QOI": ("RGB", "RGBA"), "AVIF": ("RGB",), "ICNS": ("RGBA",), "SPIDER": ("F",), "BLP": ("P",), "MPO": ("RGB",),
}  # fmt: skip
BOMBS = tuple(zlib.compress(bytes(size)) for size in (10**6, 3 * 10**7))
COMPRESSIONS = ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")


def png(
    width: int, height: int, data: bytes, color: int = 2, depth: int = 8, chunks: tuple[tuple[bytes, bytes], ...] = ()
) -> bytes:
    """Write a PNG whose header may say anything; its checksums are right."""
    header = struct.pack(">IIBBBBB", width % 2**32, height % 2**32, depth, color, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


class Pictures(Target):
    """What `read_image` takes."""

    def __init__(self, folder: Path):
        rng = np.random.default_rng(0)
        self._files: dict[str, list[bytes]] = {}
        for kind, modes in MODES.items():
            for mode in modes:
                image = _image(rng, mode, 9)
                for option in _options(kind, mode, image):
                    file = io.BytesIO()
                    try:
                        image.save(file, kind, **option)
                    except Exception:  # a format, mode or compression that this Pillow does not write
                        continue
                    self._files.setdefault(kind, []).append(file.getvalue())
        self._good = [folder / f"good.{kind}" for kind in ("png", "jpg", "gif")]
        for path, kind in zip(self._good, ("PNG", "JPEG", "GIF"), strict=True):
            path.write_bytes(self._files[kind][0])

    def good(self) -> object:
        """Read good pictures."""
        return [digest(read_image(path)) for path in self._good]

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Write a picture, or one of the other things that a path may name."""
        path = folder / "case.png"
        if rng.random() < 0.003:
            return _other_paths(rng, path)
        data = self._wrong(rng)
        path.write_bytes(data)
        kind = rng.random()
        if kind < 0.002:
            return lambda: command_line("segment", path, "--weights", "demo", "--size", 32, "-o", folder / "out.png")
        if kind < 0.5:
            return lambda: _read(path)
        return lambda: _read(data) if kind < 0.8 else _read(io.BytesIO(data))

    def _wrong(self, rng: Random) -> bytes:
        kind = rng.choice(tuple(self._files))
        data = rng.choice(
            self._files[
                kind if rng.random() < 0.5 else rng.choice(("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM"))
            ]
        )
        what = rng.randrange(10)
        if what < 5:
            return damaged(rng, data)
        if what == 5:
            return data[: rng.randrange(len(data))]
        if what == 6:
            return _with_sizes(rng, data)
        if what == 7:
            return damaged(rng, _with_sizes(rng, data), 1)
        if what == 8:
            return _png(rng)
        at = rng.randrange(min(len(data), 200))
        return (
            data[:at]
            + rng.choice((b"", rng.randbytes(8), data[::-1]))
            + rng.choice(rng.choice(tuple(self._files.values())))[at:]
        )


def _image(rng: np.random.Generator, mode: str, side: int) -> Image.Image:
    if mode == "F":
        return Image.fromarray(rng.random((side, side + 1), np.float32))
    if mode == "I":
        return Image.fromarray(rng.integers(0, 2**31, (side, side + 1), np.int32))
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 2**16, (side, side + 1), np.uint16))
    image = Image.fromarray(rng.integers(0, 256, (side, side + 1, 3), np.uint8))
    return (
        image
        if mode == "RGB"
        else image.convert("RGB").convert("L").convert(mode)
        if mode in ("1", "LA")
        else image.convert(mode)
    )


def _options(kind: str, mode: str, image: Image.Image) -> list[dict[str, Any]]:
    """Ways to write an image in a format."""
    options: list[dict[str, Any]] = [{}]
    if kind == "TIFF":  # libtiff's encoder destroys memory when it gets other modes as JPEG
        options = [{"compression": name} for name in COMPRESSIONS if name != "jpeg" or mode in ("RGB", "L")]
    if kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        options.append({"exif": _exif(image)})
    if kind in ("PNG", "TIFF", "WEBP", "GIF"):
        options.append({"save_all": True, "append_images": [image, image]})
    return [*options, {"progressive": True}] if kind == "JPEG" else options


def _exif(image: Image.Image) -> Image.Exif:
    exif = image.getexif()
    exif[0x0112] = 6
    exif[0x010E] = "a" * 40
    return exif


def _with_sizes(rng: Random, data: bytes) -> bytes:
    """Change the width or the height in a header."""
    out, value = bytearray(data), rng.choice(SIDES)
    if data.startswith(b"\x89PNG"):
        out[16:24] = b"".join(struct.pack(">I", rng.choice((value, rng.choice(SIDES)))) for _ in range(2))
        out[29:33] = struct.pack(">I", zlib.crc32(out[12:29]))
    elif data.startswith(b"BM"):
        out[18:26] = struct.pack("<II", value, rng.choice(SIDES))
    elif data.startswith(b"GIF8"):
        at = rng.choice((6, data.find(b"\x2c", 13) + 5))
        out[at : at + 4] = struct.pack("<HH", value & 65535, rng.choice(SIDES) & 65535)
    elif data.startswith(b"\xff\xd8"):
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        out[at + 5 : at + 9] = struct.pack(">HH", value & 65535, rng.choice(SIDES) & 65535)
    elif data[:2] in (b"II", b"MM"):
        order = "<" if data[:2] == b"II" else ">"
        (at,) = struct.unpack(order + "I", data[4:8])
        (count,) = struct.unpack(order + "H", data[at : at + 2]) if at + 2 <= len(data) else (0,)
        entry = at + 2 + 12 * rng.randrange(max(count, 1))
        change = rng.randrange(4)
        if change == 0:
            out[entry + 2 : entry + 4] = struct.pack(order + "H", rng.randrange(20))
        elif change == 1:
            out[entry + 4 : entry + 8] = struct.pack(order + "I", value)
        else:
            out[entry + 8 : entry + 12] = struct.pack(order + "I", value)
    elif data[:1] == b"P" and data[1:2].isdigit():
        header = data.split(None, 4)
        if len(header) == 5:
            header[rng.choice((1, 2, 3))] = rng.choice(
                (str(value).encode(), b"-1", b"9" * 5000, b"x", b"0", b"1e9", b"nan")
            )
            return b"\n".join(header)
    else:
        at = rng.randrange(min(len(out), 64))
        out[at : at + 4] = struct.pack(rng.choice("<>") + "I", value)
    return bytes(out)


def _png(rng: Random) -> bytes:
    """A PNG with chunks that are large once they are unpacked, or strange."""
    bomb = rng.choice(BOMBS)
    chunks = (
        (b"zTXt", b"a\0\0" + bomb), (b"iTXt", b"a\0\1\0\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"tEXt",
            b"a\0" + b"b" * 10**6), (b"tRNS", b"\0" * 3),
        (b"PLTE", b"\0" * 5), (b"PLTE", b""), (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff"), (b"eXIf",
            b"II*\0" + b"\xff" * 30), (b"gAMA", b"\0" * 3),
        (b"acTL", struct.pack(">II", 2**31, 0)), (b"fcTL", b"\xff" * 26), (b"sRGB", b""), (b"pHYs", b"\0"), (b"cHRM",
            b"\0"), (b"abcd", b""), (b"IHDR", b""),
    )  # fmt: skip
    width, height = rng.choice(((4, 4), (4, 4), (10**4, 10**4), (1, 10**8), (20_000, 20_000), (2**31 - 1, 1), (0, 4)))
    data = zlib.compress(rng.choice((bytes(52), bytes(10**6), b"", b"\x09" * 52)), 9)
    picked = tuple(rng.choice(chunks) for _ in range(rng.randrange(3)))
    return png(width, height, data, rng.choice((0, 2, 2, 3, 4, 6, 1, 7)), rng.choice((8, 8, 1, 2, 4, 16, 3, 0)), picked)


def _other_paths(rng: Random, path: Path) -> Callable[[], object]:
    kind = rng.randrange(4)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(rng.choice(("/dev/zero", "/dev/null", "/nowhere", path)))
    else:
        name = rng.choice(STRINGS)
        return lambda: _read(name)
    return lambda: _read(path)


def _read(source: object) -> None:
    pixels = read_image(source)  # type: ignore[arg-type]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise Wrong(f"read_image gives {pixels.dtype} {pixels.ndim} axes")

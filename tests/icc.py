"""Small color profiles (ICC, version 2), made here: of the sRGB curve or a gamma, of grays, and of inks."""

import struct

SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
WHITE = (0.9642, 1.0, 0.8249)


def rgb_profile(primaries, gamma=None):
    """A profile of three colors in XYZ, and a gamma; None for the curve of sRGB."""
    tags = {name: _xyz(color) for name, color in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return _profile(b"RGB ", b"XYZ ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))})


def gray_profile(gamma):
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile():
    """A profile in which each ink alone is darker than in Pillow's own conversion, and black is not quite black."""
    corners = b""
    for number in range(16):
        cyan, magenta, yellow, black = (number >> bit & 1 for bit in (3, 2, 1, 0))
        lightness = max(10, 255 - 60 * cyan - 70 * magenta - 20 * yellow - 200 * black)
        tints = (128 - 35 * cyan + 70 * magenta, 128 - 45 * cyan + 80 * yellow)
        corners += bytes([lightness, *(128 if black else tint for tint in tints)])
    header = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + b"".join(_fixed(x) for x in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    return _profile(b"CMYK", b"Lab ", {b"A2B0": header + bytes(range(256)) * 4 + corners + bytes(range(256)) * 3})


def _profile(space, connection, tags):
    text = b"made for a test\0"
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78), b"wtpt": _xyz(WHITE), **tags}
    tags[b"cprt"] = b"text\0\0\0\0none\0"
    start = 128 + 4 + 12 * len(tags)
    table, contents = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(contents), len(data))
        contents += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s",
        start + len(contents),
        b"test",
        0x02400000,
        b"prtr" if space == b"CMYK" else b"mntr",
        space,
        connection,
    )
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(_fixed, WHITE))
    return header.ljust(128, b"\0") + table + contents


def _fixed(value):
    return struct.pack(">i", round(value * 65536))


def _xyz(color):
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, color))


def _curve(gamma):
    if gamma is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    values = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in (i / 1023 for i in range(1024))]
    return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(round(x * 65535) for x in values))

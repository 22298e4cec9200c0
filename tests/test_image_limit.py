"""Images above a limit of memory are refused by what their header says, before anything is decoded."""

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import run_cli
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data.coco import open_label_image
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.open_image import _webp_size
from lucid_mlx.utils.validation import check_image_size

VARIABLE = "LUCID_MLX_MAX_IMAGE_MB"


def png(width, height, depth=8, color=2):
    """The header of a PNG, with the first bytes of its pixels."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))]
    parts += [(b"PLTE", bytes(range(3)))] if color == 3 else []
    parts += [(b"IDAT", zlib.compress(bytes(1000)))]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


BOMBS = {
    "rgb.png": png(12_000, 12_000),
    "sixteen.png": png(12_000, 12_000, depth=16, color=0),
    "palette.png": png(12_000, 12_000, depth=1, color=3),
    "huge.png": png(60_000, 60_000, depth=1, color=0),
    "float.pfm": b"Pf 12000 12000 -1\n" + bytes(100),
    "gray.pgm": b"P5 40000 40000 255\n" + bytes(100),
}


def written(folder, name):
    (folder / name).write_bytes(BOMBS[name])
    return folder / name


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("read", [read_image, open_label_image])
def test_a_bomb_is_refused_at_once_with_the_limit_and_what_lifts_it(name, read, tmp_path):
    start = time.thread_time()
    with pytest.raises(InputError, match=rf"{name} .*; the limit is 440 MB: make it smaller, or set {VARIABLE}"):
        read(written(tmp_path, name))
    assert time.thread_time() - start < 1


def test_the_size_of_a_photo_of_a_hundred_megapixels_is_allowed():
    check_image_size(12_000, 8_400, "photo.jpg")
    with pytest.raises(InputError, match="photo.jpg is 12000x12000 pixels, which take 577 MB; the limit is 440 MB"):
        check_image_size(12_000, 12_000, "photo.jpg")


def test_the_variable_sets_the_limit_in_python(monkeypatch, tmp_path):
    image = Image.new("L", (600, 500))
    path = tmp_path / "a.png"
    image.save(path)
    monkeypatch.setenv(VARIABLE, "1")
    with Image.open(path) as opened:
        for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), image, opened):
            with pytest.raises(InputError, match="is 600x500 pixels, which take 2 MB; the limit is 1 MB"):
                read_image(source)
    monkeypatch.setenv(VARIABLE, "2")
    assert read_image(path).shape == (500, 600, 3)


@pytest.mark.parametrize("value", ["", "0", "-1", "1e3", "many", "9" * 5000, "\u0661"])
def test_a_variable_that_is_no_number_is_told(value, monkeypatch):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InputError, match=f"{VARIABLE} is '.*; expected a number of megabytes such as 1000"):
        check_image_size(1, 1, "a.png")


def test_every_verb_with_a_photo_keeps_the_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "rgb.png")
    told = run_cli("segment", "rgb.png", "--size", "64", code=2).stderr
    assert told.splitlines()[-1].startswith("Error: rgb.png is 12000x12000 pixels")


def test_a_file_that_is_larger_than_the_limit_is_refused_unread(tmp_path):
    with (tmp_path / "a.webp").open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBPVP8 ")
        os.truncate(file.fileno(), 1 << 30)
    with pytest.raises(InputError, match="a.webp has .* MB; the limit is 440 MB"):
        read_image(tmp_path / "a.webp")


def test_a_small_image_of_one_huge_tile_is_refused(tmp_path):
    tags = [
        (256, 64),
        (257, 64),
        (258, 8),
        (259, 1),
        (262, 1),
        (277, 1),
        (322, 30_000),
        (323, 30_000),
        (324, 8),
        (325, 9),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(100))
    with pytest.raises(InputError, match="a tile of .*a.tif is 30000x30000 pixels, which take 3601 MB"):
        read_image(tmp_path / "a.tif")


MEASURE = """
import resource, sys
from lucid_mlx.preprocessing import read_image
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pixels = read_image(sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / pixels.nbytes)
"""


@pytest.mark.parametrize("mode", ["F", "I;16", "RGBA"])
def test_reading_takes_at_most_three_times_the_memory_of_the_pixels(mode, tmp_path):
    image = Image.fromarray(np.zeros((5000, 6000), np.float32)) if mode == "F" else Image.new(mode, (6000, 5000))
    image.save(tmp_path / "a.tif")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.tif")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 3


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("extended", [False, True])
def test_the_size_of_a_webp_is_known_before_room_is_made_for_it(lossless, extended, monkeypatch):
    buffer = io.BytesIO()
    image = Image.new("RGBA" if extended else "RGB", (640, 500))
    image.save(buffer, "WEBP", lossless=lossless, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0" if extended else b"")
    assert _webp_size(buffer.getvalue()[:30]) == (640, 500)
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setattr(Image, "open", lambda file: pytest.fail("it was opened"))
    with pytest.raises(InputError, match="640x500 pixels, which take 2 MB; the limit is 1 MB"):
        read_image(buffer.getvalue())

"""Addresses and names of images: right pixels, whatever they are called."""

import base64
import io
import os
import unicodedata
from urllib.parse import quote_from_bytes

import numpy as np
import pytest
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.preprocessing import read_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
FILE = io.BytesIO()
Image.fromarray(RGB).save(FILE, "PNG")
PNG = FILE.getvalue()
BASE64 = base64.b64encode(PNG).decode()

NAMES = [
    "a?b.png", "a#b.png", "a%20b.png", "a b.png", "-x.png", "--help.png", "new\nline.png", "~x.png", "*.png", "[a].png",
    "\u00e4.png", "u\u0308.png", os.fsdecode(b"\xff\xfe.png"), "x" * 251 + ".png", "http:x.png", "no ending",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_file_of_any_name_is_read(name, tmp_path, monkeypatch):
    try:
        (tmp_path / name).write_bytes(PNG)
    except OSError:
        pytest.skip("this disk takes no such name")
    monkeypatch.chdir(tmp_path)
    for source in (name, tmp_path / name, str(tmp_path / name), (tmp_path / name).as_uri()):
        assert np.array_equal(read_image(source), RGB)


def test_an_umlaut_in_two_parts_is_the_umlaut(tmp_path):
    for stored, given in (("NFC", "NFD"), ("NFD", "NFC")):
        (tmp_path / unicodedata.normalize(stored, "\u00fc.png")).write_bytes(PNG)
        assert np.array_equal(read_image(tmp_path / unicodedata.normalize(given, "\u00fc.png")), RGB)
        (tmp_path / unicodedata.normalize(stored, "\u00fc.png")).unlink()


@pytest.mark.parametrize(
    "address",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:image/png;charset=utf-8;BASE64,{BASE64}",
        f"data:;base64,{BASE64[:40]}\n {BASE64[40:]}",
        "data:image/png;base64," + BASE64.replace("+", "-").replace("/", "_").rstrip("="),
        "data:image/png;base64," + BASE64.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        f"data:image/png,{quote_from_bytes(PNG)}",
    ],
    ids=["plain", "parameters", "lines", "urlsafe", "escaped", "without base64"],
)
def test_data_addresses_are_read(address):
    assert np.array_equal(read_image(address), RGB)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,@@@", "is no valid base64"),
        ("data:image/png;base64,", "the data: address is empty"),
        ("data:,hello", "the data: address is not an image"),
        ("file://server/photo.png", "is on another machine"),
        ("file:///nothing/here.png", "^/nothing/here.png does not exist"),
        ("", "the path of the image is empty"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(address, message):
    with pytest.raises(InputError, match=message):
        read_image(address)

"""Which files of a folder, or of a pattern, are photos; and HEIC without the library that reads it."""

import sys
import warnings

import numpy as np
import pytest
from helpers import SCENES, run_cli
from PIL import Image, features

from lucid_mlx import InputError
from lucid_mlx.cli.inputs import find_photos
from lucid_mlx.data import open_dataset
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.open_image import is_picture, picture_endings

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
INSTALL = r"pip install 'lucid-mlx\[heif\]'"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two JPEGs, two HEIC photos, one of them under a wrong name, and what else is in a phone's folder."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "trip"
    path.mkdir()
    for name in ("IMG_1.JPG", "IMG_2.jpeg"):
        Image.new("RGB", (32, 24), (90, 120, 40)).save(path / name)
    for name in ("IMG_3.HEIC", "IMG_4.jpg"):
        (path / name).write_bytes(HEIC)
    for name in ("IMG_3.MOV", "IMG_3.AAE", ".DS_Store", "._IMG_1.JPG", "Thumbs.db"):
        (path / name).write_bytes(b"x")
    (path / "more").mkdir()
    return path


def test_the_endings_are_those_of_cameras_and_none_of_programs():
    endings = picture_endings()
    assert endings >= {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".hif"}
    assert not endings & {".mp4", ".mov", ".mpg", ".h5", ".pdf", ".eps", ".ps", ".txt", ".json", ""}


def test_a_picture_is_a_file_that_is_called_so(folder):
    assert is_picture(folder / "IMG_1.JPG")
    for name in ("IMG_3.MOV", "._IMG_1.JPG", "more", "none.jpg"):
        assert not is_picture(folder / name)


@pytest.mark.parametrize("given", [["trip"], ["trip/*"], ["trip/IMG_*"], ["trip", "trip/IMG_1.JPG"]], ids=str)
def test_what_is_skipped_is_told_once_for_each_reason(folder, given):
    with pytest.warns(UserWarning, match="skipped") as told:
        assert find_photos(given) == ["trip/IMG_1.JPG", "trip/IMG_2.jpeg"]
    others, *inner, heic = (str(warning.message) for warning in told)
    assert others == "2 skipped, by their names no pictures: IMG_3.AAE, IMG_3.MOV"
    told_folder = "1 folder in a folder skipped: trip/more; a pattern takes all: 'trip/**/*'"
    assert inner == ([] if given == ["trip/IMG_*"] else [told_folder])
    assert heic == "2 HEIC photos skipped for want of a library (IMG_3.HEIC, IMG_4.jpg): pip install 'lucid-mlx[heif]'"


@pytest.mark.filterwarnings("ignore:.* skipped.*:UserWarning")
def test_heic_alone_is_one_sentence_with_the_command(folder):
    for name in ("IMG_1.JPG", "IMG_2.jpeg"):
        (folder / name).unlink()
    for given in (["trip"], ["trip/IMG_3.HEIC", "trip/IMG_4.jpg"]):
        with pytest.raises(InputError, match=rf"all photos are HEIC \(IMG_3.HEIC, IMG_4.jpg\), .*: {INSTALL}"):
            find_photos(given)
    with pytest.raises(InputError, match=f"IMG_3.HEIC is a HEIC photo, which needs one more library: {INSTALL}"):
        read_image("trip/IMG_3.HEIC")
    assert find_photos(["trip/IMG_3.HEIC"]) == ["trip/IMG_3.HEIC"]  # which reading tells


@pytest.mark.filterwarnings("default")
def test_the_command_line_goes_on_with_the_others(folder):
    told = run_cli("segment", "trip", "--weights", SCENES, "-o", "out", "--size", "64").stderr
    assert told.count("HEIC photos skipped") == 1
    assert "Error" not in told


def test_training_goes_on_with_the_others(folder, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    for number in range(1, 5):
        Image.fromarray(np.zeros((24, 32), np.uint8) + np.arange(32, dtype=np.uint8) // 16).save(
            labels / f"IMG_{number}.png"
        )
    with pytest.warns(UserWarning, match="2 HEIC photos skipped for want of a library"):
        dataset = open_dataset(folder, labels, class_names=["a", "b"])
    assert [record.path.name for record in dataset.records] == ["IMG_1.JPG", "IMG_2.jpeg"]


def test_nothing_is_told_of_a_folder_of_photos_alone(folder):
    for name in ("IMG_3.HEIC", "IMG_4.jpg", "IMG_3.MOV", "IMG_3.AAE"):
        (folder / name).unlink()
    (folder / "more").rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_photos(["trip"]) == ["trip/IMG_1.JPG", "trip/IMG_2.jpeg"]


def test_a_folder_of_folders_names_the_option(folder):
    (folder / "more" / "a.jpg").write_bytes((folder / "IMG_1.JPG").read_bytes())
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    with pytest.raises(InputError, match="the folder trip holds no pictures; .* --recursive does that"):
        find_photos(["trip"])
    assert find_photos(["trip/**/*.jpg"]) == find_photos(["trip/**/*"]) == ["trip/more/a.jpg"]


def test_addresses_stay_and_file_addresses_become_paths(folder):
    given = ["https://example.org/a.jpg?x=1", "data:image/png;base64,AAAA", (folder / "IMG_1.JPG").as_uri(), "-"]
    assert find_photos(given) == [given[0], given[1], str(folder / "IMG_1.JPG"), "-"]


def test_a_file_with_a_question_mark_is_no_pattern(folder):
    for name in ("a?b.jpg", "[1].jpg"):
        (folder / name).write_bytes((folder / "IMG_1.JPG").read_bytes())
        assert find_photos([f"trip/{name}"]) == [f"trip/{name}"]


def test_avif_without_support_names_the_version(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    for brands in (b"avif\0\0\0\0mif1", b"mif1\0\0\0\0avif"):
        with pytest.raises(
            InputError, match="is an AVIF photo, which needs Pillow 11.3 or newer: pip install -U pillow"
        ):
            read_image(b"\0\0\0\x18ftyp" + brands + bytes(40))

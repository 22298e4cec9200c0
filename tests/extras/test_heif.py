"""HEIC photos, written and read with pillow-heif."""

import icc
import numpy as np
import pillow_heif
import pytest
from helpers import PHOTO, SCENES, run_cli
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import open_dataset
from lucid_mlx.preprocessing import read_image

RGB = np.asarray(Image.open(PHOTO).resize((120, 90)))


def write(path, image=RGB, **options):
    pillow_heif.from_pillow(image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        path, quality=95, chroma=444, **options
    )
    return path


def difference(pixels, wanted):
    assert pixels.shape == wanted.shape
    return np.abs(pixels.astype(int) - wanted).mean()


@pytest.mark.parametrize("name", ["a.heic", "a.HEIC", "a.heif", "a.hif", "a.jpg"])
def test_a_photo_is_read_whatever_it_is_called(name, tmp_path):
    write(tmp_path / "photo.heic").rename(tmp_path / name)
    for source in (tmp_path / name, (tmp_path / name).read_bytes()):
        assert difference(read_image(source), RGB) < 3


def test_reading_does_not_register_anything_with_pillow(tmp_path):
    read_image(write(tmp_path / "a.heic"))
    assert "HEIF" not in Image.OPEN


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert difference(read_image(write(tmp_path / "a.heic", exif=exif.tobytes())), read_image(tmp_path / "a.png")) < 3


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_gray_and_transparent_photos_are_read(mode, tmp_path):
    image = Image.fromarray(RGB).convert(mode)
    assert difference(read_image(write(tmp_path / "a.heic", image)), np.asarray(image.convert("RGB"))) < 4


def test_ten_bits_become_eight(tmp_path):
    deep = pillow_heif.from_bytes("RGB;16", (120, 90), (RGB.astype(np.uint16) * 257).tobytes())
    deep.save(tmp_path / "a.heic", quality=95, chroma=444)
    assert difference(read_image(tmp_path / "a.heic"), RGB) < 3


@pytest.mark.parametrize("primary", [0, 1])
def test_of_several_images_the_primary_one_is_read(primary, tmp_path):
    several = pillow_heif.HeifFile()
    several.add_from_pillow(Image.new("RGB", (64, 48), "red"))
    several.add_from_pillow(Image.new("RGB", (32, 32), "blue"))
    several.save(tmp_path / "a.heic", primary_index=primary)
    assert read_image(tmp_path / "a.heic").shape == [(48, 64, 3), (32, 32, 3)][primary]


def test_wide_colors_become_srgb(tmp_path):
    image = Image.fromarray(RGB)
    image.save(tmp_path / "a.png", icc_profile=icc.rgb_profile(icc.DISPLAY_P3))
    image.info["icc_profile"] = icc.rgb_profile(icc.DISPLAY_P3)
    wanted = read_image(tmp_path / "a.png")
    assert difference(read_image(write(tmp_path / "a.heic", image)), wanted) < 3
    assert difference(wanted, RGB) > 3


def test_a_damaged_photo_is_one_sentence(tmp_path):
    content = write(tmp_path / "a.heic").read_bytes()
    for cut in (100, len(content) // 2, len(content) - 10):
        with pytest.raises(InputError, match="damaged or incomplete: ") as error:
            read_image(content[:cut])
        assert "\n" not in str(error.value)


def test_the_limit_of_size_counts_before_anything_is_decoded(tmp_path, monkeypatch):
    write(tmp_path / "a.heic", Image.new("RGB", (640, 500)))
    monkeypatch.setenv("LUCID_MLX_MAX_IMAGE_MB", "1")
    with pytest.raises(InputError, match="640x500 pixels, which take 2 MB; the limit is 1 MB"):
        read_image(tmp_path / "a.heic")


def test_a_folder_of_photos_is_segmented_and_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trip").mkdir()
    (tmp_path / "labels").mkdir()
    for number in (1, 2):
        write(tmp_path / "trip" / f"IMG_{number}.HEIC")
        labels = np.zeros((90, 120), np.uint8)
        labels[:, 60:] = 1
        Image.fromarray(labels).save(tmp_path / "labels" / f"IMG_{number}.png")
    told = run_cli("segment", "trip", "--weights", SCENES, "-o", "out", "--size", "64")
    assert "skipped" not in told.stderr
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} >= {"IMG_1", "IMG_2"}
    records = open_dataset("trip", "labels", class_names=["left", "right"]).records
    assert [record.image().shape for record in records] == [(90, 120, 3)] * 2

"""Photos are converted to sRGB by the profile that they carry."""

import io
import warnings

import icc
import numpy as np
import pytest
from helpers import PHOTO
from PIL import Image, ImageCms

from lucid_mlx.preprocessing import color_profile, read_image

RGB = np.asarray(Image.open(PHOTO).resize((60, 40)))
P3 = icc.rgb_profile(icc.DISPLAY_P3)


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(color_profile, "_TOLD", set())


def png(profile, mode="RGB", format="PNG"):
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, format, icc_profile=profile)
    return file.getvalue()


def to_srgb(pixels, primaries, gamma=None):
    """The definition: to linear light, to the primaries of sRGB, and back."""
    values = pixels / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    if gamma is not None:
        linear = values**gamma
    mixed = np.clip(linear @ np.array(primaries) @ np.linalg.inv(np.array(icc.SRGB)), 0, 1)
    return np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055) * 255


@pytest.mark.parametrize(
    ("primaries", "gamma"),
    [(icc.DISPLAY_P3, None), (icc.ADOBE_RGB, 2.2), (icc.SRGB, 1.8)],
    ids=["Display P3", "Adobe RGB", "gamma 1.8"],
)
def test_wide_gamuts_become_srgb(primaries, gamma):
    pixels = read_image(png(icc.rgb_profile(primaries, gamma)))
    assert np.abs(pixels - to_srgb(RGB, primaries, gamma)).max() < 1.6
    assert np.abs(pixels.astype(int) - RGB).max() > 10


@pytest.mark.parametrize(
    "profile",
    [icc.rgb_profile(icc.SRGB), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
    ids=["sRGB", "Pillow's"],
)
def test_srgb_by_any_name_changes_nothing(profile):
    assert color_profile.to_srgb(Image.open(io.BytesIO(png(profile))), "a") is None
    assert np.array_equal(read_image(png(profile)), RGB)


def test_a_profile_is_looked_at_once():
    read_image(png(P3))
    before = color_profile._transform.cache_info().misses
    read_image(png(P3))
    assert color_profile._transform.cache_info().misses == before


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_colors_with_transparency_and_of_palettes_are_converted(mode):
    wanted = to_srgb(np.asarray(Image.fromarray(RGB).convert(mode).convert("RGB")), icc.DISPLAY_P3)
    assert np.abs(read_image(png(P3, mode)) - wanted).max() < 1.6


def test_a_palette_with_levels_of_transparency_is_converted():
    image = Image.fromarray(RGB).quantize(16)
    files = io.BytesIO(), io.BytesIO()
    for file, levels in zip(files, (b"\xff" * 16, bytes(16)), strict=True):
        image.save(file, "PNG", icc_profile=P3, transparency=levels)
    solid, clear = (read_image(file.getvalue()) for file in files)
    assert np.abs(solid - to_srgb(np.asarray(image.convert("RGB")), icc.DISPLAY_P3)).max() < 1.6
    assert (clear == 255).all()


def test_transparent_pixels_stay_white():
    image = Image.fromarray(RGB).convert("RGBA")
    image.putalpha(0)
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=P3)
    assert (read_image(file.getvalue()) == 255).all()


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grays_have_profiles_too(mode):
    gray = Image.fromarray(RGB).convert("L")
    image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257) if mode == "I;16" else gray.convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=icc.gray_profile(1.8))
    wanted = to_srgb(np.asarray(gray.convert("RGB")), icc.SRGB, 1.8)
    assert np.abs(read_image(file.getvalue()) - wanted).max() < 1.6
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=P3)  # as programs leave it when they take the colors away
    assert np.abs(read_image(file.getvalue()).astype(int) - np.asarray(gray.convert("RGB"))).max() <= 1


def test_inks_are_converted_by_their_profile():
    plain, converted = (read_image(png(profile, "CMYK", "JPEG")) for profile in (None, icc.cmyk_profile()))
    assert np.abs(plain.astype(int) - converted).mean() > 10


def test_the_same_photo_gives_the_same_pixels_through_pillow():
    with Image.open(io.BytesIO(png(P3))) as image:
        assert np.array_equal(read_image(image), read_image(png(P3)))
        assert np.array_equal(read_image(image.convert("RGB")), read_image(png(P3)))


def test_a_profile_of_more_than_a_megabyte_is_used():
    large = P3 + np.random.default_rng(0).bytes(2_000_000)
    assert np.array_equal(read_image(png(large)), read_image(png(P3)))


@pytest.mark.parametrize("profile", [P3[:10], P3[:300], bytes(2_000_000), b"x" * 500], ids=len)
def test_a_damaged_profile_is_ignored_and_told_once(profile):
    with pytest.warns(UserWarning, match="the color profile of the image is ignored, .*: it is damaged"):
        assert np.array_equal(read_image(png(profile)), RGB)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_image(png(profile)), RGB)


@pytest.mark.parametrize("profile", [icc.gray_profile(2.2), icc.cmyk_profile()])
def test_a_profile_for_other_pixels_is_ignored_and_told(profile):
    with pytest.warns(UserWarning, match="it is for (GRAY|CMYK), and the pixels are RGB"):
        assert np.array_equal(read_image(png(profile)), RGB)


def test_a_variable_leaves_colors_as_they_are_stored(monkeypatch):
    monkeypatch.setenv(color_profile.VARIABLE, "1")
    assert np.array_equal(read_image(png(P3)), RGB)
    monkeypatch.setenv(color_profile.VARIABLE, "0")
    assert not np.array_equal(read_image(png(P3)), RGB)

import contextlib

import numpy as np
import pytest
from helpers import PHOTO
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.images import Recipe, preprocess, read_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


class TestReading:
    def test_an_rgb_image_comes_as_it_is(self, tmp_path):
        assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(RGB))), RGB)

    def test_exif_rotation_is_honoured(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
        path = saved(tmp_path, Image.fromarray(RGB), exif=exif)
        assert np.array_equal(read_image(path), np.rot90(RGB, -1))

    def test_transparency_lies_on_white(self, tmp_path):
        rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
        rgba[0, 0, 3] = 255
        pixels = read_image(saved(tmp_path, Image.fromarray(rgba)))
        assert np.array_equal(pixels[0, 0], RGB[0, 0])
        assert (pixels[1:] == 255).all()

    def test_sixteen_bits_are_scaled_not_cut(self, tmp_path):
        gray = np.array([[0, 257, 32896, 65535]], np.uint16)
        pixels = read_image(saved(tmp_path, Image.fromarray(gray)))
        assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
        assert pixels.shape == (1, 4, 3)

    def test_a_dark_sixteen_bit_image_stays_dark(self, tmp_path):
        assert read_image(saved(tmp_path, Image.fromarray(np.full((2, 2), 200, np.uint16)))).max() == 1

    def test_floats_count_from_0_to_1(self, tmp_path):
        gray = np.array([[0.0, 0.5, 1.00001]], np.float32)
        assert read_image(saved(tmp_path, Image.fromarray(gray), "x.tiff"))[0, :, 0].tolist() == [0, 128, 255]

    @pytest.mark.parametrize(("mode", "name"), [("CMYK", "x.jpg"), ("L", "x.png"), ("P", "x.gif"), ("1", "x.png")])
    def test_other_modes_become_rgb(self, tmp_path, mode, name):
        pixels = read_image(saved(tmp_path, Image.fromarray(RGB).convert(mode), name))
        assert pixels.shape == RGB.shape
        assert pixels.dtype == np.uint8

    def test_the_first_frame_of_an_animation_is_taken(self, tmp_path):
        frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (10, 200)]
        path = saved(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
        assert np.abs(read_image(path).astype(int) - 10).max() <= 1

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"hello, I am a text file", "is not an image"),
            (PHOTO.read_bytes()[:20000], "damaged or incomplete"),
            (b"\x89PNG\r\n\x1a\n" + bytes(40), "image"),
        ],
    )
    def test_files_that_are_no_whole_images_are_told(self, tmp_path, content, message):
        path = tmp_path / "photo.jpg"
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_image(path)
        assert message in str(error.value)
        assert str(path) in str(error.value)

    def test_missing_files_and_folders_are_told(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            read_image(tmp_path / "nothing.png")
        with pytest.raises(InputError, match="is a folder"):
            read_image(tmp_path)

    @settings(max_examples=50, deadline=None)
    @given(cut=st.integers(1, 60000), at=st.integers(0, 60000), byte=st.integers(0, 255))
    def test_damage_ends_in_pixels_or_one_sentence(self, tmp_path_factory, cut, at, byte):
        content = bytearray(PHOTO.read_bytes())
        content[at] = byte
        path = tmp_path_factory.mktemp("damaged") / "photo.jpg"
        path.write_bytes(content[:cut])
        with contextlib.suppress(InputError):
            assert read_image(path).ndim == 3


class TestRecipe:
    @pytest.mark.parametrize(
        ("raw", "image", "wanted"),
        [
            ({}, (400, 600), (384, 384)),
            ({"size": {"height": 384, "width": 384}}, (100, 50), (384, 384)),
            ({"size": {"height": 100, "width": 50}}, (7, 7), (128, 64)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (400, 600), (800, 1216)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (600, 400), (1216, 800)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (3, 20000), (32, 1344)),
            ({"size": {"shortest_edge": 512}, "size_divisor": 0}, (100, 300), (512, 1536)),
            ({"size": 640, "_max_size": 1000}, (100, 200), (512, 1024)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (895, 3720), (352, 1344)),
            ({"do_resize": False, "size": {"height": 5, "width": 5}}, (7, 300), (7, 300)),
        ],
    )
    def test_sizes_follow_the_recipe(self, raw, image, wanted):
        assert Recipe.from_dict(raw).output_size(*image) == wanted

    @pytest.mark.parametrize(
        "raw",
        [
            {"size": {"longest": 3}},
            {"size": {"height": None, "width": 3}},
            {"size": {"height": -100, "width": 3}},
            {"size": {"shortest_edge": "64"}},
            {"size": {"shortest_edge": 64, "longest_edge": "100"}},
            {"size": True},
            {"size": 0},
            {"size_divisor": "x"},
            {"size_divisor": -32},
            {"resample": 17},
            {"rescale_factor": None},
            {"image_mean": None},
            {"image_mean": [0.5] * 4},
            {"image_std": [0.5, 0.5, float("nan")]},
            {"image_std": [0, 0, 0]},
        ],
    )
    def test_values_that_are_none_are_told(self, raw):
        with pytest.raises(InputError, match="the recipe's"):
            Recipe.from_dict(raw)

    def test_steps_can_be_left_out(self):
        image = np.full((5, 5, 3), 51, np.uint8)
        plain = preprocess(image, Recipe.from_dict({"do_resize": False, "do_rescale": False, "do_normalize": False}))
        assert plain.shape == (1, 5, 5, 3)
        np.testing.assert_allclose(np.array(plain), 51.0)

    @settings(max_examples=40, deadline=None)
    @given(height=st.integers(1, 20000), width=st.integers(1, 20000))
    def test_sides_are_always_positive_multiples_of_the_divisor(self, height, width):
        size = Recipe(size=None, shortest_edge=800, longest_edge=1333).output_size(height, width)
        assert all(side > 0 and side % 32 == 0 for side in size)

    def test_pixels_are_resized_and_normalised(self):
        recipe = Recipe.from_dict(
            {"size": {"height": 32, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
        )
        pixels = preprocess(np.full((5, 5, 3), 255, np.uint8), recipe)
        assert pixels.shape == (1, 32, 64, 3)
        np.testing.assert_allclose(np.array(pixels), 2.0, rtol=1e-6)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid_mlx import InputError
from lucid_mlx.images import Recipe, preprocess

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


class TestRecipe:
    @pytest.mark.parametrize(
        ("raw", "image", "wanted"),
        [
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
        assert Recipe.from_dict(raw).seen_size(*image) == wanted

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
        plain = preprocess(
            image, Recipe.from_dict({"do_resize": False, "do_rescale": False, "do_normalize": False})
        ).pixels
        assert plain.shape == (1, 5, 5, 3)
        np.testing.assert_allclose(np.array(plain), 51.0)

    @settings(max_examples=40, deadline=None)
    @given(height=st.integers(1, 20000), width=st.integers(1, 20000))
    def test_sides_are_always_positive_multiples_of_the_divisor(self, height, width):
        size = Recipe(size=None, shortest_edge=800, longest_edge=1333).seen_size(height, width)
        assert all(side > 0 and side % 32 == 0 for side in size)

    def test_pixels_are_resized_and_normalised(self):
        recipe = Recipe.from_dict(
            {"size": {"height": 32, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
        )
        pixels = preprocess(np.full((5, 5, 3), 255, np.uint8), recipe).pixels
        assert pixels.shape == (1, 32, 64, 3)
        np.testing.assert_allclose(np.array(pixels), 2.0, rtol=1e-6)

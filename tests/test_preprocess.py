import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.preprocessing import ImageConfig, batches, parse_size, preprocess
from lucid_mlx.preprocessing.preprocess import MAX_PENDING_BATCHES

COCO = ImageConfig(size=None, shortest_edge=800, longest_edge=1333, divisor_mode="pad")


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class TestSizes:
    @pytest.mark.parametrize(
        ("raw", "image", "wanted"),
        [
            ({}, (400, 600), (800, 1216)),
            ({"max_size": 1000}, (400, 600), (672, 1024)),
            ({"size": {"height": 384, "width": 384}}, (100, 50), (384, 384)),
            ({"size": {"height": 100, "width": 50}}, (7, 7), (128, 64)),
            ({"size": [100, 50]}, (7, 7), (128, 64)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (400, 600), (800, 1216)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (600, 400), (1216, 800)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (3, 20000), (32, 1344)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (895, 3720), (352, 1344)),
            ({"size": {"shortest_edge": 512}, "size_divisor": 0}, (100, 300), (512, 1536)),
            ({"size": {"shortest_edge": 512}, "size_divisibility": 0}, (100, 301), (512, 1541)),
            ({"size": {"shortest_edge": 800, "longest_edge": 1333}, "size_divisor": 0}, (320, 1334), (320, 1334)),
            ({"size": {"shortest_edge": 512}, "size_divisibility": 1, "size_divisor": 100}, (100, 300), (600, 1600)),
            ({"size": 640, "_max_size": 1000}, (100, 200), (512, 1024)),
            ({"size": 640, "max_size": 1000, "reduce_labels": True}, (100, 200), (512, 1024)),
            ({"size": 640}, (100, 300), (448, 1344)),
            ({"do_resize": False, "size": {"height": 5, "width": 5}}, (7, 300), (7, 300)),
        ],
    )
    def test_transformers_image_configs_resize_to_the_divisor(self, raw, image, wanted):
        image_config = ImageConfig.from_dict(raw)
        assert image_config.content_size(*image) == wanted
        assert image_config.input_size(*image) == wanted

    @pytest.mark.parametrize(
        ("image_config", "image", "content_sizes", "input_size"),
        [
            (COCO, (480, 640), (800, 1067), (800, 1088)),
            (COCO, (640, 480), (1067, 800), (1088, 800)),
            (COCO, (426, 640), (800, 1202), (800, 1216)),
            (COCO, (427, 1000), (569, 1333), (576, 1344)),
            (COCO, (1, 20000), (1, 1333), (32, 1344)),
            (replace(COCO, shortest_edge=None), (401, 603), (401, 603), (416, 608)),
            (replace(COCO, longest_edge=None), (100, 300), (800, 2400), (800, 2400)),
            (replace(COCO, size_divisor=1), (427, 1000), (569, 1333), (569, 1333)),
            (replace(COCO, size=(500, 40)), (9, 9), (500, 40), (512, 64)),
        ],
    )
    def test_the_original_s_image_configs_pad_to_the_divisor(self, image_config, image, content_sizes, input_size):
        assert image_config.content_size(*image) == content_sizes
        assert image_config.input_size(*image) == input_size

    def test_an_image_config_may_pad_every_image_to_one_size(self):
        image_config = ImageConfig.from_dict(
            {"size": {"height": 64, "width": 90}, "pad_size": {"height": 128, "width": 160}}
        )
        assert (image_config.content_size(5, 5), image_config.input_size(5, 5)) == ((64, 96), (128, 160))
        image_config = ImageConfig.from_dict({"size": {"shortest_edge": 64}, "pad_size": {"height": 128, "width": 160}})
        with pytest.raises(
            InputError, match="100x300 is resized to 64x192, which is more than the image configuration's pad_size"
        ):
            image_config.input_size(100, 300)

    @settings(max_examples=100, deadline=None)
    @given(
        height=st.integers(1, 20000),
        width=st.integers(1, 20000),
        image_config=st.sampled_from([COCO, ImageConfig.from_dict({})]),
    )
    def test_inputs_are_multiples_of_the_divisor_that_hold_the_image(self, height, width, image_config):
        content_sizes, input_size = image_config.content_size(height, width), image_config.input_size(height, width)
        assert all(
            0 < shown <= side < shown + 32 and side % 32 == 0
            for shown, side in zip(content_sizes, input_size, strict=True)
        )
        if image_config.divisor_mode == "pad":
            assert max(content_sizes) <= 1333


class TestFromDict:
    @pytest.mark.parametrize(
        "raw",
        [
            {"size": {"longest": 3}},
            {"size": {"height": None, "width": 3}},
            {"size": {"height": -100, "width": 3}},
            {"size": {"shortest_edge": "64"}},
            {"size": {"shortest_edge": 64, "longest_edge": "100"}},
            {"size": [1, 2, 3]},
            {"size": True},
            {"size": 0},
            {"pad_size": 64},
            {"pad_size": {"height": 64}},
            {"size_divisor": "x"},
            {"size_divisor": -32},
            {"pad_size_divisor": None},
            {"resample": 17},
            {"rescale_factor": None},
            {"image_mean": None},
            {"image_mean": [0.5] * 4},
            {"image_std": [0.5, 0.5, float("nan")]},
            {"image_std": [0, 0, 0]},
        ],
    )
    def test_bad_values_are_reported(self, raw):
        with pytest.raises(InputError, match="the image configuration's"):
            ImageConfig.from_dict(raw)

    def test_one_number_stands_for_all_channels(self):
        image_config = ImageConfig.from_dict({"image_mean": 0.5, "image_std": 0.25})
        assert (image_config.mean, image_config.std) == ((0.5,) * 3, (0.25,) * 3)

    def test_disabled_steps_need_no_value(self):
        raw = {"do_resize": False, "size": None, "resample": None, "do_rescale": False, "rescale_factor": None}
        image_config = ImageConfig.from_dict({**raw, "do_normalize": False, "image_mean": None, "image_std": None})
        assert (image_config.rescale_factor, image_config.mean, image_config.std) == (1.0, (0.0,) * 3, (1.0,) * 3)

    @settings(max_examples=100, deadline=None)
    @given(
        image_config=st.builds(
            ImageConfig,
            size=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
            size_divisor=st.integers(1, 64),
            divisor_mode=st.sampled_from(["resize", "pad"]),
            pad_size=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
            resample=st.integers(0, 5),
            rescale_factor=st.floats(0.001, 2),
            mean=st.tuples(*[st.floats(-2, 2)] * 3),
            std=st.tuples(*[st.floats(0.01, 2)] * 3),
        ),
        edges=st.tuples(st.integers(1, 999), st.none() | st.integers(1, 999)) | st.none(),
    )
    def test_what_is_written_is_read_again(self, image_config, edges):
        if image_config.size is None and edges is not None:
            image_config = replace(image_config, shortest_edge=edges[0], longest_edge=edges[1])
        if image_config.size is None and image_config.shortest_edge is None:
            image_config = replace(image_config, resample=ImageConfig.resample)  # not stored where nothing is resized
        assert ImageConfig.from_dict(json.loads(json.dumps(image_config.to_dict()))) == image_config


class TestParseSize:
    @pytest.mark.parametrize(
        ("text", "changes"),
        [
            ("512", {"size": (512, 512)}),
            (" 640x480 ", {"size": (480, 640)}),
            ("640X480", {"size": (480, 640)}),
            ("800/1333", {"shortest_edge": 800, "longest_edge": 1333, "size": None}),
        ],
    )
    @pytest.mark.parametrize("image_config", [ImageConfig(), COCO, ImageConfig(pad_size=(700, 700), size_divisor=8)])
    def test_a_size_replaces_the_image_config_s(self, text, changes, image_config):
        changes = {"size": None, "shortest_edge": None, "longest_edge": None, "pad_size": None, **changes}
        assert parse_size(text, image_config) == replace(image_config, **changes)

    @pytest.mark.parametrize(
        "text", ["", "x", "0", "0x5", "5/0", "-3", "1.5", "640x", "640 480", "1x2x3", "100000", "٣"]
    )
    def test_text_that_is_no_size_is_reported(self, text):
        with pytest.raises(InputError, match=r"is no size; expected 512 \(a square\), 640x480"):
            parse_size(text, ImageConfig())

    def test_edges_in_the_wrong_order_are_reported(self):
        with pytest.raises(InputError, match="did you mean 800/1333"):
            parse_size("1333/800", ImageConfig())


class TestPixels:
    def test_steps_can_be_left_out(self):
        image = np.full((5, 5, 3), 51, np.uint8)
        plain, content_sizes = preprocess(
            image,
            ImageConfig.from_dict({"do_resize": False, "do_rescale": False, "do_normalize": False, "size_divisor": 0}),
        )
        assert plain.shape == (1, 5, 5, 3)
        assert content_sizes == ((5, 5),)
        np.testing.assert_allclose(np.array(plain), 51.0)

    def test_pixels_are_resized_and_normalized(self):
        image_config = ImageConfig.from_dict(
            {"size": {"height": 32, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.25, 0.5, 1.0]}
        )
        pixels, content_sizes = preprocess(np.full((5, 5, 3), 255, np.uint8), image_config)
        assert pixels.shape == (1, 32, 64, 3)
        assert pixels.dtype == mx.float32
        assert content_sizes == ((32, 64),)
        np.testing.assert_allclose(np.array(pixels), np.broadcast_to([2.0, 1.0, 0.5], pixels.shape), rtol=1e-6)

    @pytest.mark.parametrize(
        "image_config",
        [
            replace(COCO, shortest_edge=40, longest_edge=70),
            ImageConfig((40, 50), divisor_mode="pad"),
            ImageConfig((32, 32), pad_size=(64, 96)),
        ],
    )
    def test_padding_is_zero_after_normalization_at_the_bottom_and_the_right(self, image_config):
        pixels, ((height, width),) = preprocess(np.zeros((30, 50, 3), np.uint8), image_config)
        shown = np.array(pixels)[0] != 0  # black is not zero once it is normalized
        assert shown[:height, :width].all()
        assert shown.sum() == height * width * 3 < shown.size

    @pytest.mark.parametrize("resample", Image.Resampling)
    def test_pixels_are_resampled_as_pillow_does(self, resample):
        image, plain = random_image(40, 50), {"do_rescale": False, "do_normalize": False}
        image_config = ImageConfig.from_dict({"size": [32, 64], "resample": int(resample), **plain})
        wanted = np.asarray(Image.fromarray(image).resize((64, 32), resample))
        assert np.array_equal(np.array(preprocess(image, image_config).pixels[0]), wanted)

    def test_images_of_one_input_size_make_a_batch(self):
        images = [random_image(30, 40), random_image(29, 40, 1)]
        image_config = ImageConfig(size=None, divisor_mode="pad")
        pixels, content_sizes = preprocess(images, image_config)
        assert pixels.shape == (2, 32, 64, 3)
        assert content_sizes == ((30, 40), (29, 40))
        stacked, _ = preprocess(np.stack([images[0]] * 2), image_config)
        assert mx.array_equal(stacked[1], pixels[0])

    def test_images_with_different_input_sizes_are_reported(self):
        with pytest.raises(InputError, match=r"got 32x32, 32x64; use batches\(\)"):
            preprocess([random_image(30, 40), random_image(30, 30)], ImageConfig(size=None, divisor_mode="pad"))
        with pytest.raises(InputError, match="got none"):
            preprocess([], ImageConfig())

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((5, 5), np.uint8),
            np.zeros((5, 5, 4), np.uint8),
            np.zeros((5, 5, 3)),
            mx.zeros((5, 5, 3)),
            "photo.jpg",
        ],
    )
    def test_other_arrays_and_types_are_reported(self, image):
        with pytest.raises(InputError, match="an image must be a uint8 array"):
            preprocess([image], ImageConfig())

    def test_an_image_without_pixels_is_reported(self):
        with pytest.raises(InputError, match="must have pixels"):
            preprocess(np.zeros((0, 5, 3), np.uint8), ImageConfig())


class TestBatches:
    CONFIG = ImageConfig(size=None, shortest_edge=24, longest_edge=90, divisor_mode="pad")

    @settings(max_examples=30, deadline=None)
    @given(
        sizes=st.lists(st.tuples(st.integers(20, 60), st.integers(20, 60)), max_size=20), batch_size=st.integers(1, 5)
    )
    def test_every_image_comes_once_and_with_the_same_pixels_as_alone(self, sizes, batch_size):
        images = [random_image(*size, seed) for seed, size in enumerate(sizes)]
        found = []
        for indices, (pixels, content_sizes) in batches(iter(images), self.CONFIG, batch_size):
            assert 1 <= len(indices) == len(content_sizes) == len(pixels) <= batch_size
            for index, shown, row in zip(indices, content_sizes, pixels, strict=True):
                alone = preprocess(images[index], self.CONFIG)
                assert mx.array_equal(row, alone.pixels[0])
                assert shown == alone.content_sizes[0]
            found += indices
        assert sorted(found) == list(range(len(images)))

    def test_images_of_one_size_fill_batches_in_order(self):
        images = [random_image(30, 40)] * 7
        assert [indices for indices, _ in batches(images, self.CONFIG, 3)] == [[0, 1, 2], [3, 4, 5], [6]]

    def test_images_with_one_input_size_are_batched(self):
        images = [random_image(*size) for size in [(30, 30), (30, 90), (30, 30), (30, 90)]]
        assert [indices for indices, _ in batches(images, self.CONFIG, 2)] == [[0, 2], [1, 3]]

    def test_few_images_are_kept_and_the_largest_group_comes_first(self):
        taken = []

        def images():
            for width in [30, *range(33, 3000, 32)]:
                taken.append(width)
                yield np.zeros((32, width, 3), np.uint8)

        found = batches(images(), ImageConfig(size=None, divisor_mode="pad"), 3)
        for count, (indices, _) in enumerate(found):
            assert len(indices) == 1
            assert len(taken) <= count + 3 * MAX_PENDING_BATCHES
        assert len(taken) == count + 1

        widths = [32, 64, 64, *range(96, 2000, 32)]
        grouped = batches(
            (np.zeros((32, width, 3), np.uint8) for width in widths), ImageConfig(size=None, divisor_mode="pad"), 3
        )
        assert next(grouped)[0] == [1, 2]

    @pytest.mark.parametrize("batch_size", [0, -1])
    def test_a_batch_has_an_image(self, batch_size):
        with pytest.raises(InputError, match="batch_size must be at least 1"):
            next(batches([random_image(3, 3)], ImageConfig(), batch_size))


class TestBounds:
    @pytest.mark.parametrize("name", list(ImageConfig.__dataclass_fields__))
    def test_every_value_has_a_type_and_bounds(self, name):
        for value in (2**31, 10**400, -(10**400), float("nan"), [[]], "x", "\ud800", object()):
            for wrong in (value, [value] * 3):
                with pytest.raises(InputError, match=f"the image configuration's {name} must") as error:
                    ImageConfig(**{name: wrong})
                assert len(str(error.value)) < 200

    def test_a_side_that_is_too_long_is_told(self):
        with pytest.raises(InputError, match="size 9000x10 has a side of 9000 pixels; expected at most 8192"):
            parse_size("9000x10", ImageConfig())
        with pytest.raises(InputError, match="shortest_edge must be at most 8192, got 100000000"):
            ImageConfig.from_dict({"size": {"shortest_edge": 10**8}})
        with pytest.raises(InputError, match="size_divisor must be at most 1024"):
            ImageConfig.from_dict({"size_divisor": 2**31})

    def test_a_narrow_image_is_not_resized_to_more_than_a_network_can_take(self):
        with pytest.raises(InputError, match="an image of 1x1000 is resized to 8192x8192000 .* give a smaller size"):
            ImageConfig(size=None, shortest_edge=8192).input_size(1, 1000)

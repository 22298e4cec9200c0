import math
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.datasets import dataset_classes
from lucid_mlx.visualization import draw as draw_module
from lucid_mlx.visualization import draw_instances, draw_panoptic, draw_semantic, palette, side_by_side
from lucid_mlx.visualization import overlay as overlay_module
from lucid_mlx.visualization.colors import COLORBLIND_SAFE_COLORS, shade
from lucid_mlx.visualization.overlay import overlay

ADE20K = {number: entry.name for number, entry in enumerate(dataset_classes("ade20k_semantic"))}


def rows(array):
    return [tuple(row) for row in array.tolist()]


@dataclass(frozen=True)
class FakeSegment:
    id: int
    label_id: int
    score: float


NAMES = {0: "left", 1: "right", 2: "hole"}
GRAY = np.full((300, 500, 3), 128, np.uint8)
HALVES = np.zeros((300, 500), int)
HALVES[:, 250:] = 1


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def legend_entries(monkeypatch):
    """The entries of each legend, as (name, percent)."""
    entries = []
    add_legend = draw_module.add_legend

    def recording_add_legend(image, given, size):
        entries.append([(entry.name, round(100 * entry.fraction, 2)) for entry in given])
        return add_legend(image, given, size)

    monkeypatch.setattr(draw_module, "add_legend", recording_add_legend)
    return entries


class TestOverlay:
    @settings(max_examples=30, deadline=None)
    @given(
        index_map=st.integers(1, 9).flatmap(
            lambda width: st.lists(st.lists(st.integers(-1, 3), min_size=width, max_size=width), min_size=1, max_size=9)
        ),
        opacity=st.floats(0, 1),
    )
    def test_segments_are_blended_and_the_rest_is_unchanged(self, index_map, opacity):
        index_map = np.array(index_map, np.int32)
        image = noise(*index_map.shape)
        colors = list(COLORBLIND_SAFE_COLORS[:4])
        picture = np.asarray(overlay(image, index_map, colors, np.zeros(index_map.shape, bool), 1, opacity))
        wanted = image * (1 - opacity) + np.array([*colors, (0, 0, 0)])[index_map] * opacity
        inside = index_map >= 0
        assert np.abs(picture - wanted)[inside].max(initial=0) <= 1
        assert np.array_equal(picture[~inside], image[~inside])

    def test_outlines_are_visible_on_white_gray_and_black(self):
        boundaries = np.zeros((20, 20), bool)
        boundaries[:, 9:11] = True
        for value in (0, 128, 255):
            image = np.full((20, 20, 3), value, np.uint8)
            line = np.asarray(
                overlay(image, np.zeros((20, 20), np.int32), [COLORBLIND_SAFE_COLORS[0]], boundaries, 1, 0.0)
            ).astype(int)[10, :, 0]
            assert line[9:11].min() > 240
            assert line[7:13].max() - line[7:13].min() > 80
            assert (line[:7] == value).all()


class TestPictures:
    @settings(max_examples=5, deadline=None)
    @given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 99), boxes=st.booleans())
    def test_any_size_and_any_map_is_drawn_deterministically(self, height, width, seed, boxes):
        rng = np.random.default_rng(seed)
        image, ids = noise(height, width), rng.integers(0, 5, (height, width))
        segments = [FakeSegment(number, number % 3, 0.5) for number in range(1, 5)]
        for drawing in (
            lambda: draw_semantic(image, ids - 2, NAMES, title="a title"),
            lambda: draw_panoptic(image, ids, segments, NAMES),
            lambda: draw_instances(
                image,
                rng.permuted(ids[None] == np.arange(4)[:, None, None]),
                [0, 0, 2, 1],
                np.ones(4),
                NAMES,
                boxes=boxes,
            ),
        ):
            state = rng.bit_generator.state
            picture = drawing()
            assert picture.mode == "RGB"
            assert max(picture.size) >= 480
            rng.bit_generator.state = state
            assert picture.tobytes() == drawing().tobytes()

    @pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (3, 900), (700, 500)])
    def test_long_narrow_photos_are_drawn(self, size):
        ids = np.random.default_rng(0).integers(0, 3, size)
        assert max(draw_semantic(noise(*size), ids, NAMES).size) >= max(size)

    def test_pixels_outside_of_segments_are_unchanged(self):
        image, classes = noise(300, 500), np.full((300, 500), -1)
        classes[100:200, 100:400] = 1
        picture = np.asarray(draw_semantic(image, classes, {1: ""}, legend=False))
        assert np.array_equal(picture[classes < 0], image[classes < 0])
        assert picture[100:102, 120:380].min() > 240  # the line is inside the segment
        inner = picture[110:190, 110:390].astype(float)
        assert np.abs(inner - (image[110:190, 110:390] + palette({1: ""})[1].astype(float)) / 2).max() <= 1

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int64, np.uint64])
    def test_maps_of_any_integer_dtype_are_drawn(self, dtype):
        picture = draw_semantic(GRAY, HALVES.astype(dtype) * 127, {0: "left", 127: "right"})
        assert picture.tobytes() == draw_semantic(GRAY, HALVES, NAMES).tobytes()

    def test_a_small_photo_is_enlarged_pixel_by_pixel(self):
        image = noise(10, 20)
        picture = draw_semantic(image, np.full((10, 20), -1), {})
        assert np.array_equal(np.asarray(picture), np.kron(image, np.ones((24, 24, 1), np.uint8)))

    def test_each_class_is_tinted_outlined_labeled_and_listed(self):
        picture = np.asarray(draw_semantic(GRAY, HALVES, NAMES))
        tints = (128 + palette(NAMES).astype(float)) / 2
        for half, tint in ((picture[:300, :240], tints[0]), (picture[:300, 260:], tints[1])):
            assert np.abs(half[:50] - tint).max() <= 1
            assert np.abs(half - tint).max() > 50  # the name
        assert picture[:300, 249:251].min() > 240
        assert picture.shape[0] > 320
        assert picture.shape[1] == 500

    def test_opacity_0_keeps_the_photo_and_1_hides_it(self):
        bare, full = (
            np.asarray(draw_semantic(noise(300, 500), HALVES, {0: "", 1: "  "}, opacity=opacity))
            for opacity in (0.0, 1.0)
        )
        assert np.array_equal(bare[:300, :245], noise(300, 500)[:, :245])
        assert (full[:300, :245] == palette({0: ""})[0]).all()

    def test_the_legend_lists_exactly_the_classes_in_the_image(self, legend_entries):
        classes = HALVES.copy()
        classes[:30] = -1
        classes[100:110, 100:110] = 7
        draw_semantic(GRAY, classes, {**NAMES, 5: "not there", 7: "spot, speck"})
        assert legend_entries == [[("right", 45.0), ("left", 44.93), ("spot", 0.07)]]
        draw_semantic(GRAY, classes, {**NAMES, 7: "left, but smaller"})
        assert legend_entries[1][2] == ("left, but smaller", 0.07)

    @pytest.mark.parametrize("size", [(120, 160), (480, 640), (900, 300), (100, 1500), (4, 480)])
    def test_the_legend_shows_each_class_once_at_any_size(self, size):
        labels = {number: f"class {number}" for number in range(20)}
        classes = np.arange(size[0] * size[1]).reshape(size) % 20
        picture = np.asarray(draw_semantic(np.zeros((*size, 3), np.uint8), classes, labels, opacity=0.0))
        bare = np.asarray(draw_semantic(np.zeros((*size, 3), np.uint8), classes, labels, opacity=0.0, legend=False))
        beside = picture.shape[0] == bare.shape[0]
        legend = picture[:, bare.shape[1] :] if beside else picture[bare.shape[0] :]
        squares = [(legend == color).all(axis=-1).sum() for color in palette(labels)]
        assert min(squares) == max(squares) > 100

    def test_a_legend_of_150_classes_fits(self, legend_entries):
        picture = draw_semantic(noise(480, 640), np.arange(480 * 640).reshape(480, 640) % 150, ADE20K)
        assert len(legend_entries[0]) == 150
        assert picture.width == 640

    def test_given_colors_do_not_depend_on_the_classes_in_the_image(self):
        labels = {number: f"class {number}" for number in range(60)}
        fixed, photo = palette(labels), noise(480, 480)
        pixels, alone = np.zeros((2, 60, 3), np.uint8)
        for number in labels:
            classes = np.full((480, 480), number)
            options = {"opacity": 1.0, "legend": False}
            drawn = [draw_semantic(photo, classes, labels, **more, **options) for more in ({"colors": fixed}, {})]
            pixels[number], alone[number] = (picture.getpixel((20, 20)) for picture in drawn)
        np.testing.assert_array_equal(pixels, fixed)
        assert (alone != fixed).any()  # the colors of single classes

    @pytest.mark.parametrize("colors", [np.zeros((1, 3), np.uint8), np.zeros((2, 3)), np.zeros(3, np.uint8)], ids=str)
    def test_colors_that_do_not_fit_are_reported(self, colors):
        with pytest.raises(InputError, match=r"colors must be \(K, 3\) uint8"):
            draw_semantic(noise(8, 8), np.ones((8, 8), int), {1: "cup"}, colors=colors)

    def test_a_title_is_above(self):
        plain, titled = (np.asarray(draw_semantic(GRAY, HALVES, NAMES, title=title)) for title in (None, "look"))
        added = len(titled) - len(plain)
        assert np.array_equal(titled[added:], plain)
        assert (titled[:added] == (140, 20, 20)).all(axis=-1).mean() > 0.5

    def test_the_photo_is_beside_or_above(self):
        for height, width in ((300, 500), (200, 600)):
            image = noise(height, width)
            picture = draw_semantic(image, np.zeros((height, width), int), NAMES)
            both = np.asarray(side_by_side(image, picture))
            assert np.array_equal(both[:height, :width], image)
            assert np.array_equal(both[-picture.height :, -picture.width :], np.asarray(picture))
            assert (both.shape[1] > width) == (height == 300)

    @pytest.mark.parametrize("size", [(4, 6), (600, 800)])
    def test_twenty_segments_do_not_need_a_map_each(self, size):
        ids = np.kron(np.arange(1, 21).reshape(4, 5), np.ones((150, 160), int))
        tracemalloc.start()
        draw_panoptic(noise(600, 800), ids, [FakeSegment(number, 0, 0.5) for number in range(1, 21)], NAMES)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40 * ids.size


class TestPanoptic:
    def test_instances_of_a_class_have_shades_of_its_color(self, legend_entries):
        ids = HALVES * 40 + 1
        ids[:50] = 0
        picture = draw_panoptic(GRAY, ids, [FakeSegment(1, 2, 0.9), FakeSegment(41, 2, 0.8)], NAMES, opacity=1.0)
        found = [picture.getpixel((x, 280)) for x in (20, 480)]
        own = rows(palette(NAMES))[2]
        assert found == [own, shade(own, 1)]
        assert picture.getpixel((20, 20)) == (128, 128, 128)
        assert legend_entries == [[("hole", 83.33)]]

    def test_labels_have_names_and_scores(self, monkeypatch):
        given = []
        monkeypatch.setattr(draw_module, "place_labels", lambda index_map, texts, size: given.extend(texts) or [])
        draw_panoptic(GRAY, HALVES + 1, [FakeSegment(1, 0, 0.934), FakeSegment(2, 1, 1.0)], NAMES)
        assert [[text for text, _ in texts] for texts in given] == [["left 0.93", "left"], ["right 1.00", "right"]]

    def test_a_segment_may_have_the_id_0_and_large_ids_do(self):
        big = (1 << 24) - 1
        segments = [FakeSegment(0, 0, 0.9), FakeSegment(big, 1, 0.8)]
        picture = draw_panoptic(GRAY, HALVES * big, segments, NAMES, opacity=1.0)
        assert [picture.getpixel((x, 20)) for x in (20, 480)] == rows(palette(NAMES))[:2]

    @pytest.mark.parametrize(
        ("ids", "segments", "message"),
        [
            (HALVES + 1, [FakeSegment(1, 0, 1.0)], "segment_map has the id 2"),
            (HALVES, [FakeSegment(1, 0, 1.0), FakeSegment(1, 2, 1.0)], "segments must have different ids"),
            (HALVES, [FakeSegment(-3, 0, 1.0)], "the ids and classes of segments must be at least 0"),
            (HALVES, [FakeSegment(1, 9, 1.0)], "labels has no name for the class 9"),
            (HALVES[:5], [], r"segment_map must be \(300, 500\) whole numbers"),
        ],
    )
    def test_segments_that_do_not_fit_are_reported(self, ids, segments, message):
        with pytest.raises(InputError, match=message):
            draw_panoptic(GRAY, ids, segments, NAMES)

    def test_shades_can_be_given(self):
        ids = np.repeat([[1, 2, 3]], 480, axis=0).repeat(160, axis=1)
        segments = [FakeSegment(1, 0, 0.9), FakeSegment(2, 0, 0.9), FakeSegment(3, 1, 0.9)]
        labels, photo = {0: "cup", 1: "spoon"}, noise(480, 480)
        masks = np.stack([ids == number for number in (1, 2, 3)])
        options = {"shade_indices": [2, 0, 1], "opacity": 1.0, "legend": False}
        panoptic = draw_panoptic(photo, ids, segments, labels, **options)
        instances = draw_instances(photo, masks, [0, 0, 1], [0.9] * 3, labels, **options)
        cup, spoon = rows(palette(labels))
        for picture in (panoptic, instances):
            seen = [picture.getpixel((x, 20)) for x in (80, 240, 400)]
            assert seen == [shade(cup, 2), cup, shade(spoon, 1)]
        with pytest.raises(InputError, match="for each of the 3 segments, got 2"):
            draw_panoptic(photo, ids, segments, labels, shade_indices=[0, 1])


class TestInstances:
    def test_smaller_instances_are_on_top_and_all_have_outlines(self, legend_entries):
        masks = np.zeros((3, 300, 500), bool)
        masks[0, 100:200, 200:300] = True
        masks[1, 50:250, 100:400] = True
        picture = draw_instances(GRAY, masks, np.array([0, 1, 2]), np.array([0.9, 0.8, 0.7]), NAMES, opacity=1.0)
        assert [picture.getpixel(position) for position in ((210, 110), (110, 60))] == rows(palette(NAMES))[:2]
        assert picture.getpixel((10, 10)) == (128, 128, 128)
        for position in ((200, 150), (100, 60)):
            assert min(picture.getpixel(position)) > 240
        assert legend_entries == [[("right", 33.33), ("left", 6.67)]]  # the third has no pixels

    def test_a_covered_part_keeps_its_outline(self):
        masks = np.zeros((2, 300, 500), bool)
        masks[0, 100:200, 100:300] = True
        masks[1, 120:180, 250:350] = True
        picture = draw_instances(GRAY, masks, [0, 1], [0.9, 0.8], NAMES)
        assert min(picture.getpixel((299, 130))) > 240

    def test_boxes_are_drawn_on_request(self):
        y, x = np.mgrid[:300, :500]
        masks = ((y - 150) ** 2 + (x - 200) ** 2 < 80**2)[None]
        plain, boxed = (draw_instances(GRAY, masks, [0], [0.9], NAMES, boxes=boxes) for boxes in (False, True))
        corner = (122, 72)
        assert plain.getpixel(corner) == (128, 128, 128)
        assert boxed.getpixel(corner) == rows(palette(NAMES))[0]

    @pytest.mark.parametrize("size", [(300, 500), (10, 20)])
    def test_without_instances_the_photo_is_unchanged(self, size):
        picture = draw_instances(noise(*size), np.zeros((0, *size), bool), [], [], NAMES)
        assert np.array_equal(
            np.asarray(picture)[:: picture.height // size[0], :: picture.width // size[1]], noise(*size)
        )

    @pytest.mark.parametrize(
        ("masks", "label_ids", "scores", "message"),
        [
            (
                np.zeros((1, 300, 500)),
                [0],
                [1.0],
                r"each mask must be \(300, 500\) bool, as its image, got \(300, 500\) float64",
            ),
            (np.zeros((1, 30, 50), bool), [0], [1.0], "each mask must be"),
            (np.zeros((1, 500), bool), [0], [1.0], r"got \(500,\) bool"),
            (np.zeros((2, 300, 500), bool), [0], [1.0, 1.0], "must have one length, got 2, 1 and 2"),
            (np.zeros((1, 300, 500), bool), [9], [1.0], "labels has no name for the class 9"),
        ],
    )
    def test_masks_that_do_not_fit_are_reported(self, masks, label_ids, scores, message):
        with pytest.raises(InputError, match=message):
            draw_instances(GRAY, masks, label_ids, scores, NAMES)


@pytest.mark.parametrize(
    ("image", "classes", "options", "message"),
    [
        (GRAY[..., 0], HALVES, {}, r"the image must be \(H, W, 3\) uint8"),
        (GRAY / 255, HALVES, {}, "float64"),
        (GRAY[:0], HALVES[:0], {}, "with pixels in it"),
        (GRAY, HALVES.T, {}, r"class_map must be \(300, 500\) whole numbers"),
        (GRAY, HALVES * 1.0, {}, "whole numbers"),
        (GRAY, HALVES << 24, {}, "class_map must hold numbers up to 16777215, got 0 to 16777216"),
        (GRAY, HALVES - (1 << 40), {}, "class_map must hold numbers up to 16777215, got -1"),
        (GRAY, HALVES * 3, {}, "labels has no name for the class 3"),
        (GRAY, HALVES, {"opacity": 1.5}, "opacity must be at most 1, got 1.5"),
        (GRAY, HALVES, {"opacity": math.nan}, "opacity must be"),
        (GRAY, HALVES, {"dataset": "imagenet"}, "there is no dataset 'imagenet'"),
    ],
)
def test_bad_arguments_are_reported(image, classes, options, message):
    with pytest.raises(InputError, match=message):
        draw_semantic(image, classes, NAMES, **options)


def test_side_by_side_needs_a_photo():
    with pytest.raises(InputError, match="the image must be"):
        side_by_side(GRAY[..., 0], Image.new("RGB", (3, 3)))


@pytest.mark.parametrize("line_width", [1, 3])
def test_outlines_are_the_same_in_tiles_of_any_size(line_width, monkeypatch):
    rng = np.random.default_rng(0)
    index_map = np.kron(rng.integers(0, 3, (5, 7)), np.ones((37, 29), int))
    boundaries = overlay_module.find_boundaries(index_map, line_width)
    photo = rng.integers(0, 256, (*index_map.shape, 3)).astype(np.uint8)
    drawn = []
    for tile in (1000, 16):
        monkeypatch.setattr(overlay_module, "TILE", tile)
        drawn.append(
            np.asarray(overlay_module.overlay(photo, index_map, [(255, 0, 0)] * 3, boundaries, line_width, 0.5))
        )
    assert drawn[0].tobytes() == drawn[1].tobytes()

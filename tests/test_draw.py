import itertools
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
from lucid_mlx.visualization import draw_instances, draw_panoptic, draw_semantic, palette, side_by_side, text
from lucid_mlx.visualization.colors import COLORBLIND_SAFE_COLORS, class_colors, shade, text_color
from lucid_mlx.visualization.overlay import overlay
from lucid_mlx.visualization.text import place_labels

ADE20K = {number: entry.name for number, entry in enumerate(dataset_classes("ade20k_semantic"))}

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009,
# severity 1.0, on linear RGB.
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
TRITANOPIA = [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
CVD_MATRICES = {"protanopia": PROTANOPIA, "deuteranopia": DEUTERANOPIA, "tritanopia": TRITANOPIA}
OKABE_ITO = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)]


def linear(colors):
    values = np.array(colors, float) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Convert linear RGB to OKLab (Ottosson, 2020), a perceptually uniform color space."""
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(rgb @ np.transpose(to_cones)) @ np.transpose(to_lab)


def smallest_distance(colors, matrix=None):
    rgb = linear(colors) if matrix is None else np.clip(linear(colors) @ np.transpose(matrix), 0, 1)
    lab = oklab(rgb)
    return min(float(np.linalg.norm(lab[i] - lab[j])) for i in range(len(lab)) for j in range(i))


def rows(array):
    return [tuple(row) for row in array.tolist()]


class TestColors:
    def test_the_colors_differ_for_color_blind_people_too(self):
        assert smallest_distance(COLORBLIND_SAFE_COLORS) > 0.12
        for name, matrix in CVD_MATRICES.items():
            np.testing.assert_allclose(np.sum(matrix, axis=1), 1.0, atol=1e-5)  # gray stays gray
            assert smallest_distance(COLORBLIND_SAFE_COLORS, matrix) > 0.084, name
        assert min(smallest_distance(OKABE_ITO, matrix) for matrix in CVD_MATRICES.values()) < 0.077

    def test_neighbors_in_the_list_are_far_apart(self):
        for matrix in (None, *CVD_MATRICES.values()):
            assert (
                min(
                    smallest_distance([one, other], matrix)
                    for one, other in zip(
                        COLORBLIND_SAFE_COLORS, COLORBLIND_SAFE_COLORS[1:] + COLORBLIND_SAFE_COLORS[:1], strict=True
                    )
                )
                > 0.14
            )

    def test_the_color_of_a_name_is_the_same_in_every_run(self):
        assert rows(palette({0: "person", 1: "sky", 2: "coffee cup"})) == [
            (31, 108, 50),
            (16, 180, 193),
            (161, 86, 114),
        ]

    @settings(max_examples=100, deadline=None)
    @given(names=st.lists(st.text(), max_size=20, unique_by=lambda name: name.strip().casefold()), data=st.data())
    def test_colors_depend_on_names_and_up_to_twenty_classes_differ(self, names, data):
        shuffled = data.draw(st.permutations(names))
        found = dict(zip(names, rows(palette(dict(enumerate(names)))), strict=True))
        assert found == dict(zip(shuffled, rows(palette(dict(enumerate(shuffled)))), strict=True))
        assert len(set(found.values())) == len(names)
        own = {name: rows(palette({0: name}))[0] for name in names}
        for name in names:
            if list(own.values()).count(own[name]) == 1:
                assert found[name] == own[name]

    def test_of_two_names_with_one_color_only_one_moves(self):
        names = [f"class {number}" for number in range(40)]
        own = {name: rows(palette({0: name}))[0] for name in names}
        one, other = next((a, b) for a in names for b in names if a < b and own[a] == own[b])
        found = rows(palette({0: one, 1: other}))
        assert found[0] != found[1]
        assert own[one] in found

    def test_a_class_has_the_same_color_in_two_models(self):
        one, other = {0: "cat", 1: "dog", 2: "wall"}, {7: "Dog ", 3: "sofa", 9: "cat"}
        assert rows(palette(one))[0] == rows(palette(other))[9]
        assert rows(palette(one))[1] == rows(palette(other))[7]

    def test_of_many_classes_those_in_an_image_differ(self):
        labels = {number: f"class {number}" for number in range(150)}
        counts = np.unique(palette(labels), axis=0, return_counts=True)[1]
        assert (len(counts), counts.max()) == (20, 8)
        chosen = class_colors(labels, range(40, 60))
        assert len(set(chosen.values())) == 20
        assert smallest_distance(list(chosen.values()), DEUTERANOPIA) > 0.084

    def test_numbers_without_a_name_are_black(self):
        assert rows(palette({1: "cat"})) == [(0, 0, 0), *rows(palette({0: "cat"}))]
        assert palette({}).shape == (0, 3)
        assert palette({0: "cat"}).dtype == np.uint8

    def test_the_own_colors_of_a_dataset_are_used_for_exactly_its_names_or_on_request(self):
        assert rows(palette(ADE20K)) == [entry.color for entry in dataset_classes("ade20k_semantic")]
        two = {0: "car", 1: "my own class"}
        assert rows(palette(two, "cityscapes_semantic")) == [(0, 0, 142), rows(palette(two))[1]]
        assert rows(palette(two))[0] in COLORBLIND_SAFE_COLORS

    @pytest.mark.parametrize(
        ("labels", "dataset", "message"),
        [
            ({0: "cat"}, "imagenet", "there is no dataset 'imagenet'"),
            ({0: "my own class"}, "cityscapes_semantic", "has none of the labels"),
            ({-1: "void", 0: "cat"}, None, "must be 0 or more, got -1"),
        ],
    )
    def test_wrong_labels_are_reported(self, labels, dataset, message):
        with pytest.raises(InputError, match=message):
            palette(labels, dataset)

    @pytest.mark.parametrize("color", [*COLORBLIND_SAFE_COLORS, (0, 0, 0), (255, 255, 255), (70, 70, 70)])
    def test_shades_of_instances_can_be_distinguished(self, color):
        shades = [shade(color, number) for number in range(5)]
        assert shades[0] == color
        assert smallest_distance(shades) > 0.05
        for matrix in (None, *CVD_MATRICES.values()):
            assert min(smallest_distance(pair, matrix) for pair in itertools.pairwise(shades)) > 0.08

    @settings(max_examples=50, deadline=None)
    @given(color=st.tuples(*[st.integers(0, 255)] * 3))
    def test_text_on_any_color_has_enough_contrast(self, color):
        brightness = [float(linear(each) @ (0.2126, 0.7152, 0.0722)) + 0.05 for each in (color, text_color(color))]
        assert max(brightness) / min(brightness) >= 4.5


class TestFonts:
    @settings(max_examples=100, deadline=None)
    @given(given=st.text(max_size=12))
    def test_text_never_has_missing_glyphs(self, given):
        shown, name = text.renderable(given, "class 7")
        missing = text.load_font(name, 24).getmask(text.NONCHARACTER)
        for character in shown.replace(" ", ""):
            glyph = text.load_font(name, 24).getmask(character)
            assert (glyph.size, bytes(glyph)) != (missing.size, bytes(missing))

    def test_english_has_the_same_font_everywhere(self):
        assert text.renderable("traffic light", "class 7") == ("traffic light", text.PILLOW_FONT)
        assert text.renderable("two\n lines", "class 7") == ("two lines", text.PILLOW_FONT)

    def test_without_a_font_accents_are_dropped_and_other_scripts_get_the_fallback(self, monkeypatch):
        monkeypatch.setattr(text, "SYSTEM_FONTS", ("no such font.ttf",))
        renderable = text.renderable.__wrapped__
        assert renderable("café", "class 7") == ("cafe", text.PILLOW_FONT)
        assert renderable("日本", "class 7") == ("class 7", text.PILLOW_FONT)
        assert renderable("\ud800", "class 7") == ("class 7", text.PILLOW_FONT)
        assert renderable("", "class 7") == ("", text.PILLOW_FONT)

    def test_the_first_system_font_with_all_the_glyphs_is_used(self, monkeypatch):
        glyphs = {"lacking.ttf": "a", "partial.ttf": "ча", "whole.ttf": "чашкé", "late.ttf": "чашкé"}

        def glyph(name, character):
            if name == "lacking.ttf":
                raise OSError("cannot open resource")
            return character if character in glyphs.get(name, "") else "box"

        monkeypatch.setattr(text, "SYSTEM_FONTS", tuple(glyphs))
        monkeypatch.setattr(text, "_glyph", glyph)
        assert text.renderable.__wrapped__("чашка é", "class 7") == ("чашка é", "whole.ttf")


@st.composite
def index_maps(draw):
    """Maps with a few rectangles, of shapes from a line to a square."""
    height, width = draw(st.sampled_from([(300, 500), (500, 200), (1, 480), (480, 2), (90, 1400), (37, 41)]))
    index_map = np.full((height, width), -1, np.int32)
    count = draw(st.integers(1, 12))
    for number in range(count):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        index_map[top : top + draw(st.integers(1, height)), left : left + draw(st.integers(1, width))] = number
    return index_map, count


class TestLabels:
    @settings(max_examples=60, deadline=None)
    @given(drawn=index_maps(), size=st.integers(13, 40), length=st.integers(1, 30))
    def test_they_are_inside_the_image_and_their_segments_without_overlap(self, drawn, size, length):
        index_map, count = drawn
        labels = place_labels(index_map, [[("x" * length, text.PILLOW_FONT), ("y", text.PILLOW_FONT)]] * count, size)
        covered = np.zeros(index_map.shape, int)
        for label in labels:
            left, top, right, bottom = label.box
            assert 0 <= left < right <= index_map.shape[1]
            assert 0 <= top < bottom <= index_map.shape[0]
            assert text.load_font(label.font, label.size).getlength(label.text) < right - left
            assert 10 <= label.size <= size
            assert (index_map[top:bottom, left:right] == label.segment).mean() > 0.5
            covered[top:bottom, left:right] += 1
        assert covered.max() <= 1
        assert len({label.segment for label in labels}) == len(labels)

    @pytest.mark.parametrize("scale", [1, 8])
    def test_a_label_is_where_its_segment_is_widest(self, scale):
        index_map = np.zeros((60, 130), np.int32)
        index_map[25:31, 5:125] = 1  # a thin arm
        index_map[10:50, 75:125] = 1
        index_map = np.kron(index_map, np.ones((scale, scale), np.int32))
        (label,) = (
            each for each in place_labels(index_map, [[], [("ab", text.PILLOW_FONT)]], 13 * scale) if each.segment == 1
        )
        left, top, right, bottom = label.box
        assert (left + right) / 2 / scale == pytest.approx(100, abs=3)
        assert (top + bottom) / 2 / scale == pytest.approx(30, abs=2)
        assert label.size > 10 * scale

    def test_the_font_size_follows_the_available_space(self):
        index_map = np.full((300, 600), -1, np.int32)
        for number, height in enumerate((100, 30, 20, 6)):
            index_map[10 + 105 * (number // 2) :][:height, 10 + 300 * (number % 2) :][:, : 3 * height] = number
        sizes = {each.segment: each.size for each in place_labels(index_map, [[("abc", text.PILLOW_FONT)]] * 4, 30)}
        assert sizes[0] == 30
        assert 22 <= sizes[1] < 30
        assert sizes.keys() == {0, 1}

    def test_a_label_is_in_the_center_of_the_largest_component(self):
        index_map = np.full((300, 500), -1, np.int32)
        index_map[100:260, 20:140] = 0
        index_map[5:40, 440:480] = 0
        (label,) = place_labels(index_map, [[("ab", text.PILLOW_FONT)]], 16)
        assert (label.box[1] + label.box[3]) / 2 == pytest.approx(180, abs=2)

    def test_a_label_on_a_road_is_in_its_middle(self):
        index_map = np.full((200, 400), -1, np.int32)
        index_map[80:140] = 0
        index_map[79, :150] = 0  # a little wider on the left
        (label,) = place_labels(index_map, [[("road", text.PILLOW_FONT)]], 16)
        assert (label.box[0] + label.box[2]) / 2 == pytest.approx(200, abs=2)

    @pytest.mark.parametrize("flip", [False, True])
    def test_a_label_larger_than_its_segment_at_the_edge_is_inside_the_image(self, flip):
        index_map = np.full((200, 400), -1, np.int32)
        index_map[:25] = 0
        (label,) = place_labels(index_map[::-1] if flip else index_map, [[("ab", text.PILLOW_FONT)]], 30)
        assert label.box[3] - label.box[1] > 25
        assert (200 - label.box[3] if flip else label.box[1]) == 2

    def test_the_score_is_left_out_before_the_name(self):
        index_map = np.full((200, 400), -1, np.int32)
        index_map[50:150, 100:140] = 0
        (label,) = place_labels(index_map, [[("person 0.98", text.PILLOW_FONT), ("ear", text.PILLOW_FONT)]], 14)
        assert label.text == "ear"

    def test_of_two_overlapping_labels_that_of_the_smaller_segment_is_smaller_or_missing(self):
        index_map = np.zeros((60, 400), np.int32)
        index_map[:, 210:] = 1
        wide = [("a name as wide as half of it", text.PILLOW_FONT)]
        found = [place_labels(index_map, [wide, wide], size) for size in (13, 24)]
        assert [[label.segment for label in labels] for labels in found] == [[0, 1], [0]]


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
            (HALVES, [FakeSegment(-3, 0, 1.0)], "segments must have different ids from 0"),
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
        (GRAY, HALVES, {"opacity": 1.5}, "opacity must be from 0 to 1, got 1.5"),
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

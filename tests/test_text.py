"""Text in pictures: fonts, names of segments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid_mlx.visualization import text
from lucid_mlx.visualization.text import place_labels


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

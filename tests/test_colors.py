"""The colors of classes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid_mlx import InputError
from lucid_mlx.datasets import dataset_classes
from lucid_mlx.visualization import palette
from lucid_mlx.visualization.colors import COLORBLIND_SAFE_COLORS, class_colors, shade, text_color

ADE20K = {number: entry.name for number, entry in enumerate(dataset_classes("ade20k_semantic"))}

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
            ({-1: "void", 0: "cat"}, None, "the classes in labels must be whole numbers from 0"),
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

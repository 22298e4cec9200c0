"""Annotations that would take all memory, crash COCO's code, or lead out of their folder."""

import numpy as np
import pytest
from labeled import (
    instances,
    write_coco,
)
from pycocotools import mask as coco_mask

from lucid_mlx import InputError
from lucid_mlx.data import coco_dataset, open_dataset
from lucid_mlx.data.coco_masks import encode, read_segmentation, run_lengths
from lucid_mlx.data.masks import RunMasks

FAR = [[0, 0, 2.2e8, 0, 2.2e8, 3], [1e15, 1e15, -1e15, 1e15, 0, -1e15], [-1e9, 1, 1e9, 1, 1e9, 3, -1e9, 3]]


def decode(segmentation, size):
    """The pixels of a segmentation; none if it is left out."""
    found, _ = read_segmentation(segmentation, size)
    return np.zeros(size, bool) if found is None else RunMasks([encode(found, size)], size)[0]


class TestWhatWouldExhaustTheMemory:
    @pytest.mark.parametrize(("polygon", "pixels"), [*zip(FAR, (0, 24, 12), strict=True)])
    def test_polygons_that_reach_far_beyond_the_image_are_cut_off(self, polygon, pixels):
        assert np.count_nonzero(decode([polygon], (4, 6))) == pixels

    def test_other_polygons_stay_as_they_are(self):
        rng = np.random.default_rng(0)
        for _ in range(100):
            polygon = (rng.random(12) * 3 * np.tile([60, 40], 6) - np.tile([60, 40], 6)).tolist()
            expected = coco_mask.decode(coco_mask.frPyObjects([polygon], 40, 60))[..., 0].view(bool)
            assert np.array_equal(decode([polygon], (40, 60)), expected)

    def test_a_cut_polygon_is_what_it_was_within_the_image(self):
        square = [-1e6, 10, 30, 10, 30, 1e6, -1e6, 1e6]
        expected = np.zeros((40, 60), bool)
        expected[10:, :30] = True
        assert np.array_equal(decode([square], (40, 60)), expected)

    def test_an_outline_that_is_too_long_is_left_out(self):
        found, problem = read_segmentation([[0, 0, 6000, 4000] * 400], (4000, 6000))
        assert found is None
        assert problem == "with an outline of more than 2000000 pixels"

    @pytest.mark.parametrize("counts", ["", "o", "zzzz", "oooooooo0", "~", "é", "0", "1" * 50, "P0", "l01" * 5])
    def test_compressed_rle_is_checked_before_it_is_decoded(self, counts):
        with pytest.raises(ValueError, match="its (counts|runs)"):
            run_lengths(counts, (4, 6))
        found, problem = read_segmentation({"size": [4, 6], "counts": counts}, (4, 6))
        assert found is None
        assert problem in ("with run lengths that do not fit the image", "without a pixel")

    def test_compressed_rle_is_decoded_as_coco_does(self):
        rng = np.random.default_rng(0)
        for repeat in (1, 9, 400):
            mask = np.repeat(rng.random((41, 13)) < 0.3, repeat, axis=0)
            rle = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))["counts"].decode()
            assert np.array_equal(decode({"counts": rle}, mask.shape), mask)

    @pytest.mark.parametrize("side", [0, -4, 2.5, True, "x", None, [], 10**400])
    def test_a_side_that_is_no_number_is_taken_from_the_photo(self, tmp_path, side):
        raw = instances()
        raw["images"][0]["height"] = side
        with pytest.warns(UserWarning, match="1 image without height and width in the file; those of the photo"):
            (record,) = coco_dataset(*write_coco(tmp_path, raw)).records
        assert record.target().masks.shape == (3, 4, 6)

    def test_a_side_that_no_memory_holds_is_reported(self, tmp_path):
        raw = instances()
        raw["images"][0]["height"] = 2**40
        with pytest.raises(InputError, match="image 7 is 6x1"):
            coco_dataset(*write_coco(tmp_path, raw))


ODD = [None, True, 1.5, 10**400, [], {}, float("nan"), "x"]


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("id", [None, True, 1.5, 10**400, [], {}], "1 annotation without a valid id"),
        ("image_id", ODD, "1 annotation left out: of an image that the file does not list"),
        ("category_id", ODD, "1 annotation left out: of a category that the file does not list"),
        ("area", [True, -1, 0, 10**400, [], {}, float("nan"), float("inf"), "x"], "1 annotation without a valid area"),
        ("segmentation", ODD, "1 annotation left out: "),
    ],
)
def test_values_of_odd_types_in_an_annotation_are_told(tmp_path, key, values, message):
    raw = instances()
    for value in values:
        raw["annotations"][1][key] = value
        with pytest.warns(UserWarning, match=message):
            (record,) = coco_dataset(*write_coco(tmp_path, raw)).records
        assert record.target().counts().tolist() == ([4, 2, 4] if key in ("id", "area") else [4, 4])


@pytest.mark.parametrize("value", [2, 1.5, 10**400, [], {}, float("nan"), "x"])
def test_a_crowd_that_is_no_flag_is_reported(tmp_path, value):
    raw = instances()
    raw["annotations"][1]["iscrowd"] = value
    with pytest.raises(InputError, match="annotation 2 has iscrowd="):
        coco_dataset(*write_coco(tmp_path, raw))


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "a/../../a.png", "x" * 2000])
def test_a_file_outside_of_its_folder_is_never_read(tmp_path, name):
    raw = instances()
    raw["images"][0]["file_name"] = name
    with pytest.raises(InputError, match="has the file_name .*; expected a path within the folder"):
        coco_dataset(*write_coco(tmp_path, raw))
    raw["images"][0]["file_name"] = "a\0.png"
    with pytest.raises(InputError, match="does not exist"):
        coco_dataset(*write_coco(tmp_path, raw))


@pytest.mark.parametrize("path", [None, 3, b"a", "a\0", "\ud800", ["a"]])
def test_what_is_no_path_is_reported(tmp_path, path):
    images, annotations = write_coco(tmp_path, instances())
    with pytest.raises(InputError, match="annotations must be the path"):
        open_dataset(images, path)
    with pytest.raises(InputError, match="images must be the path"):
        open_dataset(path, annotations)

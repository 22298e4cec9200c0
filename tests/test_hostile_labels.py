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
from lucid_mlx.data.coco_masks import decode

FAR = [[0, 0, 2.2e8, 0, 2.2e8, 3], [1e15, 1e15, -1e15, 1e15, 0, -1e15], [-1e9, 1, 1e9, 1, 1e9, 3, -1e9, 3]]


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

    def test_an_outline_that_is_too_long_is_reported(self, tmp_path):
        raw = instances()
        raw["images"][0] |= {"height": 4000, "width": 6000}
        raw["annotations"] = [{**raw["annotations"][0], "segmentation": [[0, 0, 6000, 4000] * 400]}]
        dataset = coco_dataset(*write_coco(tmp_path, raw))
        with pytest.raises(InputError, match="the polygon of annotation 1 is damaged: its polygons have an outline of"):
            dataset.records[0].target()

    @pytest.mark.parametrize("counts", ["", "o", "zzzz", "oooooooo0", "~", "é", "0", "1" * 50, "P0", "l01" * 5])
    def test_compressed_rle_is_checked_before_it_is_decoded(self, counts):
        with pytest.raises(ValueError, match="its (counts|runs)"):
            decode({"size": [4, 6], "counts": counts}, (4, 6))

    def test_compressed_rle_is_decoded_as_coco_does(self):
        rng = np.random.default_rng(0)
        for repeat in (1, 9, 400):
            mask = np.repeat(rng.random((41, 13)) < 0.3, repeat, axis=0)
            rle = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))["counts"].decode()
            assert np.array_equal(decode({"counts": rle}, mask.shape), mask)

    def test_masks_that_do_not_fit_into_memory_are_reported(self, tmp_path):
        raw = instances()
        raw["images"][0] |= {"height": 10_000, "width": 10_000}
        raw["annotations"] = [{**raw["annotations"][0], "id": number} for number in range(100)]
        dataset = coco_dataset(*write_coco(tmp_path, raw))
        with pytest.raises(InputError, match="has 100 masks of 10000x10000 pixels, which take 10000 MB; the limit is"):
            dataset.records[0].target()

    @pytest.mark.parametrize("side", [0, -4, 2.5, True, "4", None, [], 10**400, 2**40])
    def test_sizes_of_images_are_checked(self, tmp_path, side):
        raw = instances() | {"annotations": []}
        raw["images"][0]["height"] = side
        with pytest.raises(InputError, match="image 7 (has no height or no width|is 6x1)"):
            coco_dataset(*write_coco(tmp_path, raw))


ODD = [None, True, 1.5, 10**400, [], {}, float("nan"), "x"]


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("id", [None, True, 1.5, 10**400, [], {}], "annotation 1 of the list has no id"),
        ("image_id", ODD, "annotation 2 is of image .* which is not in the file"),
        ("category_id", ODD, "annotation 2 is of category .* which is not in the file"),
        ("area", [True, -1, 10**400, [], {}, float("nan"), float("inf"), "x"], "annotation 2 has the area"),
        ("iscrowd", [2, 1.5, 10**400, [], {}, float("nan"), "x"], "annotation 2 has iscrowd="),
    ],
)
def test_values_of_odd_types_in_an_annotation_are_reported(tmp_path, key, values, message):
    raw = instances()
    for value in values:
        raw["annotations"][1][key] = value
        with pytest.raises(InputError, match=message):
            coco_dataset(*write_coco(tmp_path, raw))


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "a/../../a.png", "x" * 2000])
def test_a_file_outside_of_its_folder_is_never_read(tmp_path, name):
    raw = instances()
    raw["images"][0]["file_name"] = name
    with pytest.raises(InputError, match="image 7 has the file_name .*; expected a path within the folder"):
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

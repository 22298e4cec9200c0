"""COCO files as the tools of labeling write them: what is empty is left out and told, the rest is kept."""

import json
import re
import warnings
from typing import Any

import numpy as np
import pytest
from labeled import SQUARE, instances, panoptic, write_coco, write_image

from lucid_mlx import InputError
from lucid_mlx.data import coco_dataset
from lucid_mlx.evaluation.evaluate import check_exhaustive
from lucid_mlx.training import LargeScaleJitter, Loader

NAN = float("nan")
INSIDE = [[1, 2], [1, 3], [2, 2], [2, 3]]  # the pixels of the square


def opened(folder, raw, **options):
    """The dataset, and the warnings without the name of the file."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dataset = coco_dataset(*write_coco(folder, raw), **options)
    return dataset, [str(one.message).partition("coco.json: ")[2] for one in told]


def with_segmentation(segmentation: Any) -> dict[str, Any]:
    raw = instances()
    raw["annotations"][0]["segmentation"] = segmentation
    return raw


@pytest.mark.parametrize(
    "segmentation",
    [
        SQUARE,
        [[2, 1], [4, 1], [4, 3], [2, 3]],
        [list(map(str, SQUARE))],
        {"size": [4.0, "6"], "counts": [9.0, 2, 2, "2", 9]},
        [[[2, 1], [4, 1], [4, 3], [2, 3]]],
        {"x": [2, 4, 4, 2], "y": [1, 1, 3, 3]},
        [{"all_points_x": [2, 4, 4, 2], "all_points_y": [1, 1, 3, 3]}],
        [{"x": 2, "y": 1}, {"x": 4, "y": 1}, {"x": 4, "y": 3}, {"x": 2, "y": 3}],
        [SQUARE, []],
        [[{"x": 2, "y": 1}, {"x": 4, "y": 1}, {"x": 4, "y": 3}, {"x": 2, "y": 3}]],
        {"counts": [9, 2, 2, 2, 9]},
        [{"size": [4, 6], "counts": [9, 2, 2, 2, 9]}],
    ],
)
def test_outlines_are_read_in_every_form(tmp_path, segmentation):
    dataset, told = opened(tmp_path, with_segmentation(segmentation))
    assert told == []
    assert np.argwhere(dataset.records[0].target().masks[0]).tolist() == INSIDE


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([[1, 1, 2, 1, 2, 1, 1, 1]], "without a pixel"),  # as annotation 918 of COCO's train2017
        ([[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]], "without a pixel"),
        ([[-9, -9, -2, -9, -2, -2]], "without a pixel"),
        ([[60, 1, 80, 1, 80, 3]], "without a pixel"),
        ({"size": [4, 6], "counts": [24]}, "without a pixel"),
        ({"size": [0, 0], "counts": []}, "without a pixel"),
        ({"size": [4, 6], "counts": ""}, "without a pixel"),
        ([[1, 1, 2, 2]], "with a polygon of fewer than three corners"),
        ([[1, 1, 2, 2, 3]], "with an odd number of coordinates"),
        ([[1, 1, 2, 2, 3, "x"]], "with a coordinate that is no number"),
        ([[1, 1, 2, 2, 3, NAN]], "with a coordinate that is no number"),
        ([[1, 1, 2, 2, 3, None]], "with a coordinate that is no number"),
        (None, "without an outline"),
        ([], "without an outline"),
        ([[]], "without an outline"),
        ({"size": [6, 4], "counts": [20, 4]}, "with run lengths for an image of another size"),
        ({"size": [4, 6], "counts": [20]}, "with run lengths that do not fit the image"),
        ({"size": [4, 6], "counts": "zzzzzz"}, "with run lengths that do not fit the image"),
        ({"size": [4, 6], "counts": [-4, 28]}, "with run lengths that are no numbers"),
    ],
)
def test_what_cannot_be_learned_is_left_out_and_the_rest_kept(tmp_path, segmentation, reason):
    dataset, told = opened(tmp_path, with_segmentation(segmentation))
    assert told == [f"1 annotation left out: {reason} (1)"]
    assert dataset.records[0].target().ids.tolist() == [2, 3]


@pytest.mark.parametrize("part", [[1, 1, 2, 2], [1, 1, 2, 2, 3], [1, 1, 2, 2, 3, NAN], [0, 0, 1, 0, "x", 1]])
def test_a_damaged_polygon_does_not_take_the_others_with_it(tmp_path, part):
    dataset, told = opened(tmp_path, with_segmentation([SQUARE, part]))
    assert re.fullmatch(r"1 annotation kept without a part: with an? .* \(1\)", told[0])
    assert np.argwhere(dataset.records[0].target().masks[0]).tolist() == INSIDE


def test_a_missing_segmentation_is_told_once_with_a_count_and_three_ids(tmp_path):
    raw = instances()
    raw["annotations"] += [{"id": 10 + n, "image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1]} for n in range(5)]
    _, told = opened(tmp_path, raw)
    assert told == ["5 annotations left out: without an outline (10, 11, 12 and 2 more)"]


def test_a_file_of_which_nothing_is_left_is_an_error_with_the_reasons(tmp_path):
    raw = instances()
    for annotation in raw["annotations"]:
        annotation["segmentation"] = []
    with pytest.raises(InputError, match="none of its 3 annotations can be used\n  3 annotations left out: without an"):
        opened(tmp_path, raw)


def test_a_file_of_boxes_alone_is_told_as_such(tmp_path):
    raw = instances()
    raw["annotations"] = [{"id": 1, "image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1], "segmentation": []}]
    with pytest.raises(InputError, match="1 annotations can be used: it has boxes alone; this network learns outlines"):
        opened(tmp_path, raw)


class TestCrowds:
    def all_crowds(self):
        raw = instances()
        for annotation in raw["annotations"]:
            annotation["iscrowd"] = 1
        return raw

    def test_if_all_annotations_are_crowds_the_setting_is_named_that_takes_them_as_objects(self, tmp_path):
        with pytest.raises(InputError, match="all 3 annotations have iscrowd = 1: .* crowd_as_objects = true"):
            opened(tmp_path, self.all_crowds())
        dataset, told = opened(tmp_path, self.all_crowds(), crowd_as_objects=True)
        assert told == []
        assert not dataset.records[0].target().crowd.any()

    def test_if_most_are_it_is_told(self, tmp_path):
        raw = self.all_crowds()
        raw["annotations"][0]["iscrowd"] = 0
        assert opened(tmp_path, raw)[1][0].startswith("2 of the 3 annotations have iscrowd = 1: crowds, which training")


class TestCategories:
    def categories(self, tmp_path, *categories):
        """The names of the classes, and what is told; annotations use the ids 3 and 9."""
        dataset, told = opened(tmp_path, instances() | {"categories": list(categories)})
        return dataset.class_names, told

    def test_the_root_of_roboflow_is_left_out(self, tmp_path):
        names, told = self.categories(
            tmp_path,
            {"id": 0, "name": "boats", "supercategory": "none"},
            {"id": 3, "name": "buoy", "supercategory": "boats"},
            {"id": 9, "name": "boat", "supercategory": "boats"},
        )
        assert names == ("buoy", "boat")
        assert told == ["1 category left out: no annotation uses it, it only names a group of others (boats)"]

    def test_an_unused_class_stays(self, tmp_path):
        buoy, boat = {"id": 3, "name": "buoy"}, {"id": 9, "name": "boat"}
        assert self.categories(tmp_path, {"id": 0, "name": "person"}, buoy, boat)[0] == ("person", "buoy", "boat")

    def test_of_two_of_one_name_the_unused_one_is_left_out(self, tmp_path):
        names, told = self.categories(
            tmp_path, {"id": 1, "name": "boat"}, {"id": 3, "name": "buoy"}, {"id": 9, "name": "boat"}
        )
        assert names == ("buoy", "boat")
        assert told == ["1 category left out: no annotation uses it, and another has its name (boat)"]

    def test_two_of_one_name_that_are_used_are_one_class(self, tmp_path):
        names, told = self.categories(tmp_path, {"id": 3, "name": "boat"}, {"id": 9, "name": "boat"})
        assert (names, told) == (("boat",), ["1 category taken for one class with another of the same name (boat)"])

    def test_annotations_of_a_category_that_is_not_listed_are_left_out(self, tmp_path):
        names, told = self.categories(tmp_path, {"id": 9, "name": "boat"})
        assert (names, told) == (("boat",), ["1 annotation left out: of a category that the file does not list (2)"])


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("images", {"id": "7"}), ("images", {"id": 7.0}), ("images", {"height": 4.0, "width": "6"}),
        ("images", {"file_name": "./a.png"}), ("images", {"file_name": "a.png", "extra": {"any": ["thing"]}}),
        ("annotations", {"id": "1", "image_id": "7", "category_id": "9"}), ("annotations", {"iscrowd": "0"}),
        ("annotations", {"iscrowd": False, "area": "4.5"}), ("categories", {"id": "9"}), ("categories", {"id": 9.0}),
    ],
)  # fmt: skip
def test_numbers_may_be_text_or_fractions(tmp_path, where, change):
    raw = instances()
    raw[where][0] |= change
    dataset, told = opened(tmp_path, raw)
    assert told == []
    assert dataset.class_names == ("buoy", "boat")
    assert dataset.records[0].target().areas.tolist() == [4.5, 2, 4]


def test_flags_of_panoptic_files_may_be_text(tmp_path):
    raw = panoptic()
    raw["categories"][1]["isthing"] = "0"
    raw["annotations"][0]["segments_info"][2] |= {"iscrowd": "1", "id": "70000", "category_id": "2"}
    raw["annotations"][0]["image_id"] = "7"
    dataset, told = opened(tmp_path, raw)
    assert (dataset.thing_ids, told) == ({1}, [])
    assert dataset.records[0].target().crowd.tolist() == [False, False, True]


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    images, annotations = write_coco(tmp_path, instances())
    text = json.dumps(instances(), indent=1).replace("\n", "\r\n")
    annotations.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(coco_dataset(images, annotations).records) == 1


class TestPhotos:
    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("sub\\b.png", False), ("./sub/b.png", False), ("images/sub/b.png", True), ("SUB/B.PNG", True),
            ("sub/b.jpg", True), ("b.png", True), ("/data/upload/1/b.png", True), ("C:\\photos\\sub\\b.png", True),
            ("http://localhost:8080/sub/b.png?d=1", False), ("sub/b%2Epng", True), ("../images/sub/b.png", False),
        ],
    )  # fmt: skip
    def test_they_are_found_where_they_are(self, tmp_path, name, told):
        write_image(tmp_path / "images" / "sub" / "b.png")
        raw = instances()
        raw["images"][0]["file_name"] = name
        dataset, warned = opened(tmp_path, raw)
        assert dataset.records[0].path == tmp_path / "images" / "sub" / "b.png"
        assert [line.partition(" (")[0] for line in warned] == ["1 image found under another name"] * told

    def test_of_two_of_a_name_the_one_beside_the_annotations_is_none(self, tmp_path):
        raw = instances()
        raw["images"][0]["file_name"] = "b.png"
        write_image(tmp_path / "trip" / "b.png")
        write_image(tmp_path / "found" / "panoptic" / "b.png")
        (tmp_path / "found" / "coco.json").write_text(json.dumps(raw))
        with pytest.warns(UserWarning, match="under another name"):
            dataset = coco_dataset(tmp_path, tmp_path / "found" / "coco.json")
        assert dataset.records[0].path == tmp_path / "trip" / "b.png"
        write_image(tmp_path / "other" / "b.png")
        with pytest.raises(InputError, match=r"does not exist, but .*other/b.png"):
            coco_dataset(tmp_path, tmp_path / "found" / "coco.json")

    def test_those_that_are_not_there_are_left_out_with_their_annotations(self, tmp_path):
        raw = instances()
        raw["images"].append({"id": 8, "file_name": "b.png", "height": 4, "width": 6})
        raw["annotations"] += [{**raw["annotations"][0], "id": 10, "image_id": 8}]
        raw["annotations"] += [{**raw["annotations"][0], "id": 11, "image_id": 99}]
        dataset, told = opened(tmp_path, raw)
        assert len(dataset.records) == 1
        assert [line.partition(" in /")[0] for line in told] == [
            "1 image left out, as not",
            "1 annotation left out: of an image that the file does not list (11)",
        ]

    def test_a_split_names_those_to_use(self, tmp_path):
        raw = instances()
        raw["images"].append({"id": 8, "file_name": "b.png", "height": 4, "width": 6})
        raw["annotations"] += [{**raw["annotations"][0], "id": 10, "image_id": 8}]
        for split in (["a"], ["a.png"], {"images/a.png"}):
            dataset, told = opened(tmp_path, raw, split=split)
            assert ([record.path.name for record in dataset.records], told) == (["a.png"], [])
        (tmp_path / "train.txt").write_text("a\n")
        assert len(opened(tmp_path, raw, split=tmp_path / "train.txt")[0].records) == 1
        with pytest.raises(InputError, match="the split list names none of the 2 images"):
            opened(tmp_path, raw, split=["c"])

    def test_sides_that_are_exchanged_are_those_of_the_photo(self, tmp_path):
        raw = instances()
        raw["annotations"] = raw["annotations"][:1]
        raw["images"][0] |= {"height": 6, "width": 4}
        dataset, told = opened(tmp_path, raw)
        assert told == ["1 image with height and width exchanged in the file; those of the photo are taken (7)"]
        assert np.argwhere(dataset.records[0].target().masks[0]).tolist() == INSIDE


class TestTraining:
    def test_images_without_objects_are_left_out_of_training(self, tmp_path):
        raw = instances()
        raw["images"].append({"id": 8, "file_name": "b.png", "height": 4, "width": 6})
        write_image(tmp_path / "images" / "b.png")
        dataset, _ = opened(tmp_path, raw)
        assert len(dataset.records) == 2  # evaluation has them
        with pytest.warns(UserWarning, match="1 of 2 images have no object to learn, and are left out of training"):
            loader = Loader(dataset, LargeScaleJitter(8), batch_size=1)
        assert [record.path.name for record in loader.dataset.records] == ["a.png"]

    def test_without_any_object_nothing_is_trained(self, tmp_path):
        dataset, _ = opened(tmp_path, instances() | {"annotations": []})
        with pytest.raises(InputError, match="none of the 1 images has an object to learn"):
            Loader(dataset, LargeScaleJitter(8), batch_size=1)

    def test_emptied_segments_stay_and_emptied_objects_do_not(self, tmp_path):
        image = np.zeros((4, 6, 3), np.uint8)
        for raw, kept in ((instances(), 0), (panoptic(), 2)):
            record = opened(tmp_path, raw)[0].records[0]
            sizes = set()
            for seed in range(60):
                sample = LargeScaleJitter(6, 3.0, 3.0, flip=False)(image, record.target(), np.random.default_rng(seed))
                sizes.add(len(sample.masks))
                assert kept or sample.masks.any(axis=(1, 2)).all()
            assert (min(sizes), max(sizes)) == ((kept, kept) if kept else (min(sizes), 2))
            assert kept or min(sizes) < 2


def test_files_of_lvis_can_be_trained_on_and_are_not_scored(tmp_path):
    raw = instances()
    raw["images"][0] |= {"neg_category_ids": [3], "not_exhaustive_category_ids": []}
    dataset, _ = opened(tmp_path, raw)
    assert len(Loader(dataset, LargeScaleJitter(8), batch_size=1).dataset.records) == 1
    with pytest.raises(InputError, match="labels of LVIS, .* score them with LVIS's own evaluator"):
        check_exhaustive(dataset)
    check_exhaustive(opened(tmp_path, instances())[0])

"""COCO's files are read into targets; what contradicts itself is reported before training."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from labeled import NAMES, PANOPTIC, SEMANTIC, instances, panoptic, write_coco
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import Dataset, coco_dataset, validate


class TestInstances:
    def test_polygons_rle_and_crowds_are_read(self, tmp_path):
        dataset = coco_dataset(*write_coco(tmp_path, instances()))
        assert (dataset.task, dataset.class_names, dataset.thing_ids) == ("instance", ("buoy", "boat"), {0, 1})
        (record,) = dataset.records
        assert record.image().shape == (4, 6, 3)
        target = record.target()
        assert target.class_ids.tolist() == [1, 0, 1]
        assert target.crowd.tolist() == [False, False, True]
        assert target.areas.tolist() == [4.5, 2, 4]  # of the file, or counted
        assert target.ids.tolist() == [1, 2, 3]
        assert np.array_equal(target.masks[0], SEMANTIC == 2)
        assert np.argwhere(target.masks[1]).tolist() == [[0, 0], [1, 0]]  # RLE goes down the columns
        assert np.argwhere(target.masks[2]).tolist() == [[0, 5], [1, 5], [2, 5], [3, 5]]

    def test_an_image_without_objects_has_an_empty_target(self, tmp_path):
        raw = instances() | {"annotations": []}
        (record,) = coco_dataset(*write_coco(tmp_path, raw)).records
        assert record.target().masks.shape == (0, 4, 6)


class TestPanoptic:
    def test_segments_are_read(self, tmp_path):
        dataset = coco_dataset(*write_coco(tmp_path, panoptic()))
        assert (dataset.task, dataset.class_names, dataset.thing_ids) == ("panoptic", ("sky", "boat"), {1})
        target = dataset.records[0].target()
        assert np.array_equal(target.masks, [segment_id == PANOPTIC for segment_id in (5, 300, 70000)])
        assert target.class_ids.tolist() == [0, 1, 1]
        assert target.crowd.tolist() == [False, False, True]
        assert np.array_equal(target.class_map() == -1, PANOPTIC == 0)

    def test_image_ids_may_be_strings_as_those_of_ade20k(self, tmp_path):
        raw = panoptic()
        raw["images"][0]["id"] = raw["annotations"][0]["image_id"] = "ADE_val_1"
        assert len(coco_dataset(*write_coco(tmp_path, raw)).records) == 1

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"file_name": "b.png"}, r"b.png does not exist"),
            ({"file_name": "../a.png"}, "has the file_name '../a.png'; expected a path within the folder"),
            ({"segments_info": None}, "the annotation of image 7 has no segments_info"),
            ({"segments_info": [{"id": 0, "category_id": 1}]}, "a segment with the id 0; expected 1 to 16777215"),
            ({"segments_info": [{"id": 5, "category_id": 1}] * 2}, "has segment 5 twice"),
        ],
    )
    def test_an_invalid_annotation_is_reported_with_its_image(self, tmp_path, change, message):
        raw = panoptic()
        raw["annotations"][0] |= change
        images, annotations = write_coco(tmp_path, raw)
        with pytest.raises(InputError, match=f"coco.json: 1 problem\n  .*{message}"):
            coco_dataset(images, annotations, tmp_path / "coco")

    def test_an_image_with_two_annotations_is_reported(self, tmp_path):
        raw = panoptic()
        raw["annotations"] *= 2
        with pytest.raises(InputError, match="the annotation of image 7 appears twice"):
            coco_dataset(*write_coco(tmp_path, raw))

    def test_segments_that_file_or_png_lack_are_left_out_and_told(self, tmp_path):
        images, annotations = write_coco(tmp_path, panoptic(), np.where(PANOPTIC == 300, 6, PANOPTIC))
        dataset = coco_dataset(images, annotations)
        target = dataset.records[0].target()
        assert target.ids.tolist() == [5, 70000]
        assert (target.class_map() == -1).sum() == (PANOPTIC == 300).sum() + (PANOPTIC == 0).sum()
        with (
            pytest.warns(UserWarning, match=r"1 mask left out: without a pixel in the PNG \(300 of .*a.png"),
            pytest.warns(UserWarning, match=r"1 mask left out: in the PNG, but not listed in the file \(6 of .*a.png"),
            pytest.warns(UserWarning, match="1 of 2 classes never occur"),
        ):
            validate(dataset)

    def test_pngs_that_contradict_the_file_are_reported(self, tmp_path):
        images, annotations = write_coco(tmp_path, panoptic(), PANOPTIC[:, :5])
        with pytest.raises(InputError, match=r"a.png is 5x4 pixels, its image 6x4"):
            validate(coco_dataset(images, annotations))
        Image.fromarray(SEMANTIC).save(tmp_path / "coco" / "a.png")
        with pytest.raises(InputError, match="has mode L; expected RGB"):
            validate(coco_dataset(images, annotations))

    def test_the_folder_around_that_of_the_pngs_may_be_given(self, tmp_path):
        images, annotations = write_coco(tmp_path, panoptic())
        assert coco_dataset(images, annotations, tmp_path).records[0].target().class_ids.size

    def test_a_missing_folder_of_pngs_is_reported(self, tmp_path):
        images, annotations = write_coco(tmp_path, panoptic())
        other = annotations.rename(tmp_path / "other.json")
        with pytest.raises(InputError, match=r"the folder .*other with the PNGs of .*other.json does not exist"):
            coco_dataset(images, other)
        assert len(coco_dataset(images, other, tmp_path / "coco").records) == 1


class TestFiles:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"images": [{"id": 7, "file_name": "b.jpg", "height": 4, "width": 6}]}, r"b.jpg does not exist"),
            (
                {"images": [*instances()["images"], {"id": 7, "file_name": "b.png"}]},
                "image 7 appears twice, as 'a.png'",
            ),
            ({"images": ["a.png"], "annotations": []}, "image 0 of the list has no id or no file_name"),
            (
                {"images": [{"id": 7, "file_name": "a.png", "height": 8, "width": 6}]},
                "image 7 is 6x4 pixels, the file says 6x8: labels for other pixels; .* delete height and width",
            ),
            ({"categories": [{"id": 9}], "annotations": []}, "category 0 of the list has no id or no name"),
            ({"categories": [{"id": 9, "name": "a"}, {"id": 9, "name": "b"}]}, "category 9 appears twice, as 'a' and"),
        ],
    )
    def test_images_and_categories_are_checked(self, tmp_path, change, message):
        with pytest.raises(InputError, match=message):
            coco_dataset(*write_coco(tmp_path, instances() | change))

    def test_invalid_json_is_reported_with_its_line(self, tmp_path):
        images, annotations = write_coco(tmp_path, instances())
        annotations.write_text('{\n"images": [,]}')
        with pytest.raises(InputError, match=r"coco.json is not JSON: .* in line 2, column 12"):
            coco_dataset(images, annotations)
        annotations.write_text("[]")
        with pytest.raises(InputError, match="must hold COCO annotations, found a list"):
            coco_dataset(images, annotations)
        with pytest.raises(InputError, match=r"none.json does not exist"):
            coco_dataset(images, tmp_path / "none.json")
        annotations.write_text(json.dumps(instances()))
        with pytest.raises(InputError, match=r"the folder .*none does not exist; expected the images"):
            coco_dataset(tmp_path / "none", annotations)

    def test_one_error_lists_many_problems_and_counts_the_rest(self, tmp_path):
        raw = instances()
        raw["annotations"] += [{**raw["annotations"][0], "id": 100 + n, "iscrowd": 77} for n in range(30)]
        with pytest.raises(InputError) as raised:
            coco_dataset(*write_coco(tmp_path, raw))
        lines = str(raised.value).splitlines()
        assert lines[0].endswith("coco.json: 30 problems")
        assert lines[1].startswith("  annotation 100 has iscrowd=77")
        assert (len(lines), lines[-1]) == (22, "  and 10 more")


def test_valid_labels_pass_and_records_can_be_pickled(tmp_path):
    for number, raw in enumerate((instances(), panoptic())):
        (tmp_path / str(number)).mkdir()
        dataset = coco_dataset(*write_coco(tmp_path / str(number), raw))
        validate(dataset)
        copy = pickle.loads(pickle.dumps(dataset.records[0]))
        assert np.array_equal(copy.target().masks, dataset.records[0].target().masks)


def test_a_class_out_of_range_is_reported(tmp_path):
    dataset = coco_dataset(*write_coco(tmp_path, panoptic()))
    with pytest.raises(InputError, match="class 1 is out of range; the dataset has 1 classes"):
        validate(replace(dataset, class_names=("sky",)))


def test_a_dataset_needs_a_task_classes_and_images():
    for task, names, message in (
        ("depth", NAMES, "task must be"),
        ("semantic", (), "class"),
        ("semantic", NAMES, "image"),
    ):
        with pytest.raises(InputError, match=message):
            Dataset(task, names, frozenset(), [])

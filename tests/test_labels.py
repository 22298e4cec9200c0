"""Labeled images are read into targets, and errors in them are reported before training."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from labeled import (
    NAMES,
    PANOPTIC,
    SEMANTIC,
    instances,
    panoptic,
    write_coco,
    write_image,
    write_label_maps,
)
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import Dataset, coco_dataset, label_map_dataset, open_dataset, validate


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

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"id": 1}, "annotation 1 appears twice"),
            ({"id": None}, "annotation 1 of the list has no id"),
            ({"image_id": 8}, "annotation 2 is of image 8, which is not in the file"),
            ({"image_id": [8]}, r"annotation 2 is of image \[8\], which is not in the file"),
            ({"category_id": 1}, "annotation 2 is of category 1, which is not in the file"),
            ({"segmentation": None}, "annotation 2 has no segmentation"),
            ({"segmentation": []}, "annotation 2 has an empty list of polygons"),
            ({"segmentation": [[1, 1, 2, 2]]}, "annotation 2 has a polygon that is not a list of x, y, x, y"),
            ({"segmentation": [[1, 1, 2, 2, 3]]}, "annotation 2 has a polygon that is not a list of x, y, x, y"),
            (
                {"segmentation": [[1, 1, 2, 2, 3, "4"]]},
                "annotation 2 has a polygon with a coordinate that is not a number",
            ),
            ({"segmentation": [[1, 1, 2, 2, 3, float("nan")]]}, "annotation 2 has a polygon with a coordinate"),
            ({"segmentation": {"size": [6, 4], "counts": [24]}}, r"a height and width of \[6, 4\], its image has"),
            ({"segmentation": {"size": [4, 6], "counts": [20]}}, "an RLE of 20 pixels, its image has 24"),
            ({"segmentation": {"size": [4, 6], "counts": [-4, 28]}}, "an RLE whose counts are not a list of numbers"),
        ],
    )
    def test_an_invalid_annotation_is_reported_with_its_id(self, tmp_path, change, message):
        raw = instances()
        raw["annotations"][1] |= change
        with pytest.raises(InputError, match=f"coco.json: 1 problem\n  .*{message}"):
            coco_dataset(*write_coco(tmp_path, raw))

    def test_damaged_rle_is_reported_when_it_is_decoded(self, tmp_path):
        raw = instances()
        raw["annotations"][1]["segmentation"] = {"size": [4, 6], "counts": "zzzzzz"}
        dataset = coco_dataset(*write_coco(tmp_path, raw))
        with pytest.raises(InputError, match=r"a.png: the RLE of annotation 2 is damaged"):
            validate(dataset)

    def test_an_empty_mask_is_reported(self, tmp_path):
        raw = instances()
        raw["annotations"][0]["segmentation"] = [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]
        with pytest.raises(InputError, match=r"a.png: annotation 1 has no pixels"):
            validate(coco_dataset(*write_coco(tmp_path, raw)))


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
            ({"image_id": 8}, "annotation 0 of the list is of image 8, which is not in the file"),
            ({"file_name": "b.png"}, r"the annotation of image 7: .*b.png does not exist"),
            ({"file_name": None}, "the annotation of image 7 has no segments_info or no file_name"),
            ({"segments_info": [{"id": 0, "category_id": 1}]}, "a segment with the id 0; expected 1 to 16777215"),
            ({"segments_info": [{"id": 5, "category_id": 4}]}, "has segment 5 of category 4, which is not in the"),
            ({"segments_info": [{"id": 5, "category_id": 1}] * 2}, "has segment 5 twice"),
        ],
    )
    def test_an_invalid_annotation_is_reported_with_its_image(self, tmp_path, change, message):
        raw = panoptic()
        raw["annotations"][0] |= change
        with pytest.raises(InputError, match=f"coco.json: 1 problem\n  .*{message}"):
            coco_dataset(*write_coco(tmp_path, raw))

    def test_an_image_with_two_annotations_is_reported(self, tmp_path):
        raw = panoptic()
        raw["annotations"] *= 2
        with pytest.raises(InputError, match="the annotation of image 7 appears twice"):
            coco_dataset(*write_coco(tmp_path, raw))

    def test_pngs_that_contradict_the_file_are_reported(self, tmp_path):
        images, annotations = write_coco(tmp_path, panoptic(), np.where(PANOPTIC == 5, 6, PANOPTIC))
        with pytest.raises(InputError, match=r"a.png has segment 6, which its annotation does not list"):
            validate(coco_dataset(images, annotations))
        write_coco(tmp_path, panoptic(), np.where(PANOPTIC == 5, 300, PANOPTIC))
        with pytest.raises(InputError, match="annotation 5 has no pixels"):
            validate(coco_dataset(images, annotations))
        write_coco(tmp_path, panoptic(), PANOPTIC[:, :5])
        with pytest.raises(InputError, match=r"a.png is 5x4 pixels, its image 6x4"):
            validate(coco_dataset(images, annotations))
        Image.fromarray(SEMANTIC).save(tmp_path / "coco" / "a.png")
        with pytest.raises(InputError, match="has mode L; expected RGB"):
            validate(coco_dataset(images, annotations))

    def test_a_missing_folder_of_pngs_is_reported(self, tmp_path):
        images, annotations = write_coco(tmp_path, panoptic())
        other = annotations.rename(tmp_path / "other.json")
        with pytest.raises(InputError, match=r"the folder .*other with the PNGs of .*other.json does not exist"):
            coco_dataset(images, other)
        assert len(coco_dataset(images, other, tmp_path / "coco").records) == 1


class TestCocoFiles:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"images": [{"id": 7, "file_name": "b.png", "height": 4, "width": 6}]},
                r"image 7: .*b.png does not exist",
            ),
            ({"images": [{"id": 7, "file_name": "a.png"}], "annotations": []}, "image 7 has no height or no width"),
            ({"images": instances()["images"] * 2}, "image 7 appears twice"),
            ({"images": ["a.png"], "annotations": []}, "image 0 of the list has no id or no file_name"),
            ({"categories": instances()["categories"] * 2}, "category 9 appears twice"),
            ({"categories": [{"id": 9}], "annotations": []}, "category 0 of the list has no id or no name"),
            ({"categories": [{"id": 9, "name": "a"}, {"id": 3, "name": "a"}]}, "several categories are called 'a'"),
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
        raw["annotations"] += [{**raw["annotations"][0], "id": 100 + n, "category_id": 77} for n in range(30)]
        with pytest.raises(InputError) as raised:
            coco_dataset(*write_coco(tmp_path, raw))
        lines = str(raised.value).splitlines()
        assert lines[0].endswith("coco.json: 30 problems")
        assert lines[1].startswith("  annotation 100 is of category 77")
        assert (len(lines), lines[-1]) == (22, "  and 10 more")


class TestLabelMaps:
    def test_each_class_in_the_image_is_a_mask(self, tmp_path):
        dataset = label_map_dataset(*write_label_maps(tmp_path), NAMES)
        assert (dataset.task, dataset.class_names, len(dataset.records)) == ("semantic", NAMES, 2)
        target = dataset.records[0].target()
        assert target.class_ids.tolist() == [0, 1, 2]
        assert np.array_equal(target.masks, [class_id == SEMANTIC for class_id in (0, 1, 2)])
        assert np.array_equal(target.class_map(), np.where(SEMANTIC == 255, -1, SEMANTIC.astype(int)))

    def test_reduced_labels_begin_at_one(self, tmp_path):
        dataset = label_map_dataset(*write_label_maps(tmp_path), NAMES[1:], reduce_zero_label=True)
        expected = np.where((SEMANTIC == 255) | (SEMANTIC == 0), -1, SEMANTIC.astype(int) - 1)
        assert np.array_equal(dataset.records[0].target().class_map(), expected)

    def test_another_label_can_be_ignored(self, tmp_path):
        labels = np.where(SEMANTIC == 255, 9, SEMANTIC).astype(np.uint16)  # 16 bits
        dataset = label_map_dataset(*write_label_maps(tmp_path, labels=labels), NAMES, ignore_index=9)
        assert np.array_equal(dataset.records[0].target().class_map() == -1, SEMANTIC == 255)

    def test_a_palette_image_has_palette_indices_as_labels(self, tmp_path):
        images, labels = write_label_maps(tmp_path, 1)
        image = Image.fromarray(SEMANTIC).convert("P")
        image.putdata(SEMANTIC.ravel())
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        image.save(labels / "0.png")
        assert np.array_equal(label_map_dataset(images, labels, NAMES).records[0].target().ids, [0, 1, 2])

    def test_suffixes_and_subfolders_as_those_of_cityscapes(self, tmp_path):
        write_image(tmp_path / "images" / "ulm" / "x_leftImg8bit.png")
        (tmp_path / "labels" / "ulm").mkdir(parents=True)
        Image.fromarray(SEMANTIC).save(tmp_path / "labels" / "ulm" / "x_gtFine_labelTrainIds.png")
        suffixes = ("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
        dataset = label_map_dataset(tmp_path / "images", tmp_path / "labels", NAMES, suffixes=suffixes)
        validate(dataset)
        with pytest.raises(InputError, match=r"has no label map: .*ulm/x_leftImg8bit.png does not exist"):
            label_map_dataset(tmp_path / "images", tmp_path / "labels", NAMES)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.full((4, 6), 3, np.uint8), r"0.png has the label 3 at x=0, y=0; expected 0 to 2, or 255 for pixels"),
            (SEMANTIC[:3], "the image is 6x4 pixels, its labels are for 6x3"),
            (np.zeros((4, 6, 3), np.uint8), "has mode RGB; expected a grayscale or palette image"),
        ],
    )
    def test_an_invalid_label_map_is_reported(self, tmp_path, labels, message):
        images, folder = write_label_maps(tmp_path)
        Image.fromarray(labels).save(folder / "0.png")
        with pytest.raises(InputError, match=f"the labeled images: 1 problem\n  .*{message}"):
            validate(label_map_dataset(images, folder, NAMES))

    def test_one_error_lists_all_damaged_files(self, tmp_path):
        images, labels = write_label_maps(tmp_path, 3)
        for path in (images / "0.png", labels / "2.png"):
            path.write_bytes(path.read_bytes()[:-30])
        (images / "1.png").write_text("not an image")
        with pytest.raises(InputError) as raised:
            validate(label_map_dataset(images, labels, NAMES))
        assert [line.split(" is ")[0].strip() for line in str(raised.value).splitlines()[1:]] == [
            str(images / "0.png"), str(images / "1.png"), str(labels / "2.png")
        ]  # fmt: skip

    def test_missing_files_are_reported(self, tmp_path):
        images, labels = write_label_maps(tmp_path)
        (labels / "1.png").unlink()
        with pytest.raises(InputError, match=r"1.png has no label map: .*labels/1.png does not exist"):
            label_map_dataset(images, labels, NAMES)
        with pytest.raises(InputError, match=r"the folder .*none does not exist; expected the label maps"):
            label_map_dataset(images, tmp_path / "none", NAMES)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="empty has no images"):
            label_map_dataset(tmp_path / "empty", labels, NAMES)
        with pytest.raises(InputError, match="several classes are called 'sea'"):
            label_map_dataset(images, labels, ("sea", "sea"))


class TestOpenDataset:
    def test_the_format_is_recognized_from_the_annotations(self, tmp_path):
        assert open_dataset(*write_coco(tmp_path, instances())).task == "instance"
        assert open_dataset(*write_coco(tmp_path, panoptic())).task == "panoptic"
        images, labels = write_label_maps(tmp_path / "maps")
        (tmp_path / "names.txt").write_text("sky\nsea\n\nboat\n")
        dataset = open_dataset(images, labels, class_names=tmp_path / "names.txt")
        assert (dataset.task, dataset.class_names) == ("semantic", NAMES)
        assert open_dataset(images, labels, class_names="cityscapes_semantic").class_names[0] == "road"

    def test_class_names_are_for_label_maps_only(self, tmp_path):
        images, labels = write_label_maps(tmp_path / "maps")
        with pytest.raises(InputError, match="is a folder of label maps; give class names"):
            open_dataset(images, labels)
        with pytest.raises(InputError, match=r"none.txt does not exist"):
            open_dataset(images, labels, class_names="none.txt")
        with pytest.raises(InputError, match=r"coco.json has its own class names"):
            open_dataset(*write_coco(tmp_path, panoptic()), class_names=NAMES)


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

"""Any labeled dataset is opened with the same settings, in Python, in TOML and by `eval`."""

import json

import numpy as np
import pytest
from labeled import NAMES, instances, panoptic, write_coco, write_image, write_label_maps

from lucid_mlx import InputError
from lucid_mlx.data import open_dataset
from lucid_mlx.data.class_names import read_class_names


class TestOpenDataset:
    def test_the_format_is_recognized_from_the_annotations(self, tmp_path):
        assert open_dataset(*write_coco(tmp_path, instances())).task == "instance"
        assert open_dataset(*write_coco(tmp_path, panoptic())).task == "panoptic"
        images, labels = write_label_maps(tmp_path / "maps")
        (tmp_path / "names.txt").write_text("sky\nsea\nboat\n")
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


@pytest.fixture
def maps(tmp_path):
    return write_label_maps(tmp_path / "maps")


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfsky\r\n sea \r\nboat\r\n\r\n\r\n",
        "\ufeffsky\r\nsea\r\nboat".encode("utf-16-le"),
        b"sky\rsea\rboat",
    ],
)
def test_names_files_of_other_editors_are_read(tmp_path, maps, text):
    (tmp_path / "names.txt").write_bytes(text)
    assert open_dataset(*maps, class_names=tmp_path / "names.txt").class_names == NAMES


def test_a_blank_line_between_names_is_told(tmp_path, maps):
    (tmp_path / "names.txt").write_text("sky\nsea\n\nboat\n")
    with pytest.warns(UserWarning, match="line 3 is blank, and is no label: the next name, 'boat', is label 2"):
        assert open_dataset(*maps, class_names=tmp_path / "names.txt").class_names == NAMES
    (tmp_path / "names.txt").write_text("\n\n")
    with pytest.raises(InputError, match="is empty; expected one class name in each line"):
        open_dataset(*maps, class_names=tmp_path / "names.txt")


def test_names_and_merged_classes_may_be_json(tmp_path, maps):
    (tmp_path / "names.json").write_text(json.dumps(dict(enumerate(NAMES))))
    (tmp_path / "merge.json").write_text(json.dumps({"water": ["sea"], "rest": ["sky", "boat"]}))
    found = open_dataset(*maps, class_names=tmp_path / "names.json", merge=tmp_path / "merge.json")
    assert found.class_names == ("water", "rest")
    assert np.array_equal(found.records[0].target().class_ids, [0, 1])
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, sky\n1, sea\n2, boat\n")
    assert open_dataset(*maps, class_names=tmp_path / "_classes.csv").class_names == NAMES
    (tmp_path / "_classes.csv").write_text("a,b,c\nsky,0,0\n")
    with pytest.raises(InputError, match="from 0 on: lines such as 0,sky"):
        open_dataset(*maps, class_names=tmp_path / "_classes.csv")
    (tmp_path / "names.json").write_text(json.dumps({"1": "sky"}))
    with pytest.raises(InputError, match="must hold the name of each label from 0 on"):
        open_dataset(*maps, class_names=tmp_path / "names.json")
    (tmp_path / "merge.json").write_text(json.dumps({"water": "sea"}))
    with pytest.raises(InputError, match="has 'sea' for the class 'water'; expected a list of names"):
        open_dataset(*maps, class_names=NAMES, merge=tmp_path / "merge.json")


def test_paths_may_have_a_tilde_or_backslashes(tmp_path, maps, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "split.txt").write_text("0\n")
    found = open_dataset("~/maps/images", "~\\maps\\labels", class_names=NAMES, split="~/split.txt")
    assert [record.path.name for record in found.records] == ["0.png"]
    with pytest.raises(InputError, match=r"images is 'maps\\timages', where a backslash was read as TOML does"):
        open_dataset("maps\timages", "~/maps/labels", class_names=NAMES)


def test_settings_that_do_nothing_are_refused(tmp_path, maps):
    coco = write_coco(tmp_path, instances())
    for name, value in (("merge", {}), ("ignore_index", 0), ("reduce_zero_label", True), ("endings", ("a", "b"))):
        with pytest.raises(InputError, match=f"`{name}` cannot be used with COCO's JSON"):
            open_dataset(*coco, **{name: value})
    for name, value in (("panoptic_folder", "x"), ("crowd_as_objects", True)):
        with pytest.raises(InputError, match=f"`{name}` cannot be used with a folder of label maps"):
            open_dataset(*maps, class_names=NAMES, **{name: value})


def test_a_folder_that_holds_coco_files_is_told(tmp_path):
    images, annotations = write_coco(tmp_path, instances())
    with pytest.raises(InputError, match=r"give class names \(`names`.*; or .*coco.json, if that is COCO's JSON"):
        open_dataset(images, annotations.parent)
    with pytest.raises(InputError, match="labelz does not exist; expected COCO's JSON file, or the folder"):
        open_dataset(images, tmp_path / "labelz")


def test_images_without_an_annotation_are_left_out_on_request(tmp_path):
    raw = instances()
    raw["images"] += [{**raw["images"][0], "id": 8, "file_name": "b.png"}]
    images, annotations = write_coco(tmp_path, raw)
    write_image(images / "b.png")
    assert len(open_dataset(images, annotations).records) == 2
    with pytest.warns(UserWarning, match="1 of 2 images have no annotation; they are left out"):
        assert len(open_dataset(images, annotations, skip_unlabeled=True).records) == 1


@pytest.mark.parametrize(
    "names", [{0: 5, 1: "a"}, {1: "a", 2: "b"}, {"a": (1, 2)}, {"a": 5}, {"a": (1, 2, 300)}, {5: (1, 2, 3)}]
)
def test_odd_names_of_classes_are_told(names):
    with pytest.raises(InputError, match="class_names|color of"):
        read_class_names(names)


def test_names_by_label_may_be_a_mapping():
    assert list(read_class_names({1: "b", 0: "a"})) == ["a", "b"]

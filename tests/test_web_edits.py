"""What somebody changes about a result on the page, and the files of it; none of it needs gradio."""

import io
import json
import zipfile

import numpy as np
import pytest
from helpers import SCENE, SCENES
from PIL import Image

from lucid_mlx import Segmenter
from lucid_mlx.cli.formats import FORMATS, PictureOptions, encoded
from lucid_mlx.cli.web_compare import agreement
from lucid_mlx.cli.web_edits import Edits
from lucid_mlx.cli.web_picture import ALL_FORMATS, annotations, write
from lucid_mlx.results import Segmentation


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(SCENES, keep_candidates=True)


@pytest.fixture(scope="module")
def found(segmenter):
    return segmenter(SCENE, threshold=0.8)


def labels(result):
    return [segment.label for segment in result.segments]


def segment(result, label):
    return next(one for one in result.segments if one.label == label)


def test_hidden_segments_are_in_no_output_and_come_back(found):
    edits = Edits()
    edits.hide(segment(found, "coat"))
    changed = edits.apply(found)
    assert labels(changed) == [label for label in labels(found) if label != "coat"]
    assert segment(found, "coat").id not in changed.map
    assert edits.hidden_in(found) == [segment(found, "coat")]
    edits.hidden.clear()
    assert labels(edits.apply(found)) == labels(found)


def test_a_new_name_is_a_class_of_its_own_and_a_known_one_is_that_class(found):
    edits = Edits()
    edits.name(segment(found, "coat"), "  my coat ")
    edits.name(segment(found, "shirt"), "dress")
    changed = edits.apply(found)
    assert {"my coat", "dress"} <= set(labels(changed))
    assert not {"coat", "shirt"} & set(labels(changed))
    new, known = segment(changed, "my coat"), segment(changed, "dress")
    assert new.label_id not in found.labels
    assert found.labels[known.label_id] == "dress"
    assert changed.labels[new.label_id] == "my coat"
    assert new.id == segment(found, "coat").id
    assert np.array_equal(changed.map, found.map)
    assert labels(found) == labels(Edits().apply(found))  # the result itself stays
    edits.name(segment(found, "coat"), " ")
    assert "coat" in labels(edits.apply(found))


def test_changes_stay_when_the_threshold_moves(found):
    edits = Edits()
    edits.name(segment(found, "coat"), "my coat")
    edits.hide(segment(found, "sandal"))
    higher = found.with_threshold(0.91)
    assert 1 < len(higher.segments) < len(found.segments)
    assert "sandal" not in labels(higher)
    assert "my coat" in labels(edits.apply(higher))
    again = higher.with_threshold(0.8)
    assert len(edits.apply(again).segments) == len(again.segments) - 1 == len(found.segments) - 1
    assert "my coat" in labels(edits.apply(again))


def test_in_a_semantic_segmentation_the_class_gets_the_name():
    classes = np.array([[0, 0], [1, 2]], np.int32)
    result = Segmentation.from_semantic(np.zeros((2, 2, 3), np.uint8), classes, {0: "a", 1: "b", 2: "c"})
    edits = Edits()
    edits.name(segment(result, "b"), "new")
    edits.hide(segment(result, "c"))
    changed = edits.apply(result)
    assert labels(changed) == ["a", "new"]
    assert changed.labels == {0: "a", 1: "new", 2: "c"}
    assert changed.map.tolist() == [[0, 0], [1, -1]]


def test_segments_of_one_name_are_numbered(found):
    edits = Edits()
    for label in ("coat", "shirt"):
        edits.name(segment(found, label), "thing")
    (_, masks), colors, segments = annotations(edits.apply(found))
    assert {name.split(",")[0] for _, name in masks} >= {"thing 1", "thing 2"}
    assert len(colors) == len(masks) == len(segments)


@pytest.mark.parametrize("task", ["panoptic", "instance", "semantic"])
def test_every_format_can_be_downloaded_with_the_changes(task, tmp_path, segmenter):
    result = Segmenter(segmenter.model, task, thing_ids=segmenter.thing_ids)(SCENE)
    edits = Edits()
    edits.name(result.segments[0], "renamed")
    changed = edits.apply(result)
    for format in FORMATS:
        (tmp_path / format).mkdir()
        file = write(changed, format, tmp_path / format, segmenter)
        with open(file, "rb") as opened:  # noqa: PTH123
            data = opened.read()
        if format == "panoptic":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                assert sorted(archive.namelist()) == ["panoptic.json", "panoptic/scene.png"]
                categories = json.loads(archive.read("panoptic.json"))["categories"]
                assert len({one["id"] for one in categories}) == len(categories)
                assert "renamed" in {one["name"] for one in categories}
        elif format in ("csv", "coco", "coco-results"):
            assert data.count(b"renamed") >= (format != "coco-results")
        else:
            assert data == encoded(format, changed, PictureOptions(), "PNG")
    (tmp_path / "all").mkdir()
    with zipfile.ZipFile(write(changed, ALL_FORMATS, tmp_path / "all", segmenter)) as archive:
        assert len(archive.namelist()) == len(FORMATS) + 1


def test_a_segment_alone_is_named_in_its_file(found, tmp_path, segmenter):
    file = write(found.only(segment(found, "coat")), "cutout", tmp_path, segmenter, "../a coat")
    assert file == str(tmp_path / "scene-a-coat" / "scene-a-coat-cutout.png")
    with Image.open(file) as picture:
        assert np.count_nonzero(np.asarray(picture)[..., 3] > 128) == pytest.approx(
            segment(found, "coat").area, rel=0.05
        )


def test_agreement_counts_pixels_whose_class_has_the_same_name():
    photo = np.zeros((1, 4, 3), np.uint8)
    one = Segmentation.from_semantic(photo, np.array([[0, 0, 1, 1]], np.int32), {0: "Cup, mug", 1: "tea"})
    other = Segmentation.from_semantic(photo, np.array([[3, 3, 3, 0]], np.int32), {0: "tea", 3: "cup"})
    assert agreement(one, other) == "the same class on 75.0% of the pixels"

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from results import of_masks, segmented

from lucid_mlx import InputError, Segmentation, Thresholds
from lucid_mlx.datasets import TASKS
from lucid_mlx.results.stored import mask_of_runs, run_lengths


def same(one, other):
    return (
        one.segments == other.segments
        and [segment.queries for segment in one.segments] == [segment.queries for segment in other.segments]
        and (one.task, one.name, one.thresholds) == (other.task, other.name, other.thresholds)
        and dict(one.labels) == dict(other.labels)
        and np.array_equal(one.map, other.map)
        and np.array_equal(one.image, other.image)
        and np.array_equal(one.masks, other.masks)
        and one.map.dtype == other.map.dtype
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_a_result_that_is_read_again_is_the_same(task, threshold, tmp_path):
    result = replace(segmented(task, 3, threshold=threshold), thresholds=Thresholds(0.1, 0.4))
    segments = tuple(replace(segment, track_id=number) for number, segment in enumerate(result.segments, 7))
    result = replace(result, segments=segments)
    path = result.save(str(tmp_path / "cat.json"))
    assert path == tmp_path / "cat.json"
    assert same(Segmentation.load(path), result)
    assert type(Segmentation.load(path)) is Segmentation


@pytest.mark.parametrize("task", TASKS)
def test_some_segments_alone_are_read_again(task, tmp_path):
    result = segmented(task, 3)
    some = result.only(result.segments[1:])
    assert same(Segmentation.load(some.save(tmp_path / "x.json")), some)


def test_the_photo_may_stay_out(tmp_path):
    result = segmented("panoptic", name=None)
    with_photo, without = result.save(tmp_path / "a.json"), result.save(tmp_path / "b.json", photo=False)
    assert without.stat().st_size < with_photo.stat().st_size
    assert same(Segmentation.load(without, result.image), result)
    Image.fromarray(result.image).save(tmp_path / "photo.png")
    assert same(Segmentation.load(without, tmp_path / "photo.png"), result)
    with pytest.raises(InputError, match=r"b.json .* saved without its photo, of 50x33 pixels; pass that too"):
        Segmentation.load(without)
    with pytest.raises(InputError, match="the photo has 4x4 pixels, expected 50x33"):
        Segmentation.load(without, np.zeros((4, 4, 3), np.uint8))


def test_masks_are_run_lengths_of_coco(tmp_path):
    result = segmented("instance", 3)
    stored = json.loads(result.save(tmp_path / "x.json").read_text())
    for one, mask in zip(stored["segments"], result.masks, strict=True):
        rle = coco_mask.frPyObjects(one["segmentation"], *mask.shape)
        assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(deadline=None)
def test_run_lengths_give_the_mask_again(mask):
    runs = run_lengths(mask)
    assert np.array_equal(mask_of_runs(runs, mask.shape), mask)
    assert all(run > 0 for run in runs[1:])


class TestDamage:
    """What is wrong with a file is one sentence, whatever it is."""

    @pytest.fixture
    def stored(self, tmp_path):
        return json.loads(segmented("panoptic", 3).save(tmp_path / "x.json").read_text())

    def load(self, tmp_path, stored):
        path = tmp_path / "y.json"
        path.write_text(json.dumps(stored))
        return Segmentation.load(path)

    def test_the_file_is_fine_as_it_is(self, stored, tmp_path):
        assert same(self.load(tmp_path, stored), segmented("panoptic", 3))

    @pytest.mark.parametrize("value", [None, -1, "x", [], {}, [1], 10**30, 1.5, True])
    def test_no_value_anywhere_gives_another_error_than_ours(self, value, stored, tmp_path):
        for holder in (stored, stored["segments"][0], stored["segments"][0]["segmentation"]):
            for key in list(holder):
                before = holder[key]
                holder[key] = value
                try:
                    self.load(tmp_path, stored)
                except InputError as error:
                    assert "y.json" in str(error)  # noqa: PT017  # some values are allowed
                del holder[key]
                if key not in ("area", "box", "label", "size"):  # which the mask and the labels say too
                    with pytest.raises(InputError, match=f"y.json is damaged: it has no '{key}'|is no result"):
                        self.load(tmp_path, stored)
                holder[key] = before

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: s.update(format="COCO"), "is no result that `Segmentation.save` wrote"),
            (lambda s: s.update(version=2), "version 2"),
            (lambda s: s.update(task="depth"), "task must be one of"),
            (lambda s: s["segments"][0]["segmentation"].update(counts=[5]), "must add up to 1650 pixels, got 5"),
            (lambda s: s["segments"][0]["segmentation"].update(counts=[-5, 1655]), "must be at least 0"),
            (lambda s: s["segments"][0]["segmentation"].update(counts=[1650]), "has no pixel"),
            (lambda s: s["segments"].append(s["segments"][0]), "there are two segments 1"),
            (lambda s: s["segments"].append({**s["segments"][0], "id": 99}), "the segment 99 overlaps another one"),
            (lambda s: s["segments"][0].update(label_id=99), "it has no 99"),
            (lambda s: s.update(width=10**9, height=10**9), "the limit is"),
            (lambda s: s.update(photo="%"), "its photo is not in base64"),
            (lambda s: s.update(photo="aGVsbG8="), "y.json cannot be used: "),
            (lambda s: s["thresholds"] or s.update(thresholds={"threshold": 3}), "threshold must be at most 1"),
            (lambda s: s.update(labels={"one": "x"}), "invalid literal"),
        ],
    )
    def test_damage_is_told(self, change, message, stored, tmp_path):
        change(stored)
        with pytest.raises(InputError, match=re.escape(message)):
            self.load(tmp_path, stored)

    def test_a_semantic_segment_has_its_class_for_an_id(self, tmp_path):
        stored = json.loads(of_masks(np.eye(3)).save(tmp_path / "x.json").read_text())
        stored["segments"][0]["id"] = 7
        with pytest.raises(InputError, match="the segment 7 of a semantic map has another class, 1"):
            self.load(tmp_path, stored)

    def test_what_to_json_gives_is_no_such_file(self, tmp_path):
        with pytest.raises(InputError, match="is no result that `Segmentation.save` wrote"):
            self.load(tmp_path, segmented("semantic").to_json())

    def test_options_of_a_file(self, tmp_path):
        with pytest.raises(InputError, match="photo must be True or False, got 'no'"):
            segmented("semantic").save(tmp_path / "x.json", photo="no")

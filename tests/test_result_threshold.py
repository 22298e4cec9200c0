"""Another threshold, without the network."""

import pickle
import threading

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, SCENES
from hypothesis import given, settings
from hypothesis import strategies as st
from results import segmented

from lucid_mlx import InputError, Segmenter, Thresholds
from lucid_mlx.inference import Inference

FOUND = ["instance", "panoptic"]


def same(one, other):
    return (
        one.segments == other.segments
        and [segment.queries for segment in one.segments] == [segment.queries for segment in other.segments]
        and np.array_equal(one.map, other.map)
        and np.array_equal(one.masks, other.masks)
    )


@settings(deadline=None, max_examples=40)
@given(
    task=st.sampled_from(FOUND),
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    thresholds=st.lists(st.floats(0, 1), min_size=2, max_size=4),
)
def test_it_is_what_that_threshold_would_have_given(task, seed, size, thresholds):
    first, *others = thresholds
    result = segmented(task, seed, size, first, keep_candidates=True)
    assert same(result, segmented(task, seed, size, first))
    for threshold in others:  # one from the other
        result = result.with_threshold(threshold)
        assert same(result, segmented(task, seed, size, threshold))
        assert result.thresholds == Thresholds(threshold)


@pytest.fixture(scope="module")
def demo():
    return Segmenter(SCENES, size=128)


@pytest.mark.parametrize("task", FOUND)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_it_is_what_running_again_gives(task, dtype, monkeypatch):
    segmenter = Segmenter(SCENES, task, size=128, dtype=dtype, keep_candidates=True)
    wanted = {threshold: segmenter(PHOTO, threshold=threshold) for threshold in (0.0, 0.2, 0.5, 0.9)}
    assert len({len(result.segments) for result in wanted.values()}) > 1
    assert segmenter(PHOTO).with_threshold(0.2).thresholds == wanted[0.2].thresholds
    start = segmenter(PHOTO, thresholds=Thresholds(threshold=0.95))
    monkeypatch.setattr(Inference, "start", lambda *args: pytest.fail("the network runs"))
    for threshold, result in wanted.items():
        again = start.with_threshold(threshold)
        assert same(again, result)
        assert (again.name, again.labels) == (result.name, result.labels)
        assert again.image is start.image


def test_other_thresholds_stay(demo):
    demo.task, demo.keep_candidates = "panoptic", True
    wanted = demo(PHOTO, thresholds=Thresholds(0.3, 0.7, 0.1))
    again = demo(PHOTO, thresholds=Thresholds(0.9, 0.7, 0.1)).with_threshold(0.3)
    assert same(again, wanted)
    assert again.thresholds == wanted.thresholds == Thresholds(0.3, 0.7, 0.1)


def test_a_result_knows_its_thresholds(demo):
    for task, threshold in (("panoptic", 0.8), ("instance", 0.5)):
        demo.task = task
        assert demo(PHOTO).thresholds == Thresholds(threshold)
    demo.task = "semantic"
    assert demo(PHOTO).thresholds is None


@pytest.mark.parametrize("task", FOUND)
def test_any_thread_may_ask(task):
    results = []
    result = segmented(task, 3, keep_candidates=True)
    thread = threading.Thread(target=lambda: results.append(result.with_threshold(0.3).masks))
    thread.start()
    thread.join()
    assert np.array_equal(results[0], segmented(task, 3, threshold=0.3).masks)


@pytest.mark.parametrize("task", FOUND)
def test_a_result_keeps_candidates_only_if_asked(task, tmp_path):
    result = segmented(task, 3)
    kept = segmented(task, 3, keep_candidates=True)
    assert result._candidates is None
    some = kept.only(kept.segments)
    for without in (result, some, type(kept).load(kept.save(tmp_path / "x.json"))):
        with pytest.raises(InputError, match=r"keep_candidates=True\), and call with_threshold before only"):
            without.with_threshold(0.9)


def test_logits_in_half_precision_are_kept_in_half_the_memory(demo):
    kept = {}
    for dtype in (mx.float32, mx.float16):
        segmenter = Segmenter(SCENES, "panoptic", size=128, dtype=dtype, keep_candidates=True)
        kept[dtype] = segmenter(PHOTO)._candidates.mask_logits
    assert [logits.dtype for logits in kept.values()] == [np.float32, np.float16]
    assert kept[mx.float16].shape[1:] == (32, 32)


def test_a_query_of_several_classes_is_kept_once():
    candidates = segmented("instance", 3, keep_candidates=True)._candidates
    assert len(candidates.scores) > len(candidates.mask_logits) == len(set(candidates.queries.tolist()))


def test_semantic_results_have_no_threshold():
    with pytest.raises(InputError, match="semantic segmentation takes no threshold: every pixel gets a class"):
        segmented("semantic").with_threshold(0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, None, "0.5", float("nan")])
def test_a_threshold_is_from_zero_to_one(threshold):
    with pytest.raises(InputError, match="threshold must be"):
        segmented("panoptic", keep_candidates=True).with_threshold(threshold)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_whether_to_keep_candidates_is_yes_or_no(value):
    with pytest.raises(InputError, match="keep_candidates must be True or False"):
        Segmenter(SCENES, keep_candidates=value)


@pytest.mark.parametrize("task", FOUND)
def test_candidates_go_to_another_process(task):
    result = pickle.loads(pickle.dumps(segmented(task, 3, keep_candidates=True)))
    assert same(result.with_threshold(0.3), segmented(task, 3, threshold=0.3))

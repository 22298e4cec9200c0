"""What a call of a segmenter takes besides images: sizes, thresholds, colors, what to do about bad images, overflow."""

import time

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, small_model

from lucid_mlx import InputError, Segmenter, Thresholds
from lucid_mlx.inference import Inference
from lucid_mlx.preprocessing import read_image

GOOD = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    return small_model(1, init_std=0.5, init_xavier_std=0.15)


@pytest.fixture(scope="module")
def segmenter(model):
    return Segmenter(model, "instance", size=64, threshold=0.2)


def scores(result):
    return [segment.score for segment in result.segments]


class TestSize:
    @pytest.mark.parametrize("size", [64, "64"])
    def test_it_may_be_a_number(self, model, size):
        segmenter = Segmenter(model, size=size)
        assert segmenter.image_config.size == (64, 64)
        assert segmenter.image_config_note == "size 64, as asked"

    @pytest.mark.parametrize("size", [0, -1, 2.5, True, 10**400, (64, 64), "0", ""])
    def test_what_is_no_size_is_told(self, model, size):
        with pytest.raises(InputError, match="size"):
            Segmenter(model, size=size)


class TestThreshold:
    def test_a_call_counts_more_than_the_segmenter_and_that_more_than_the_default(self, model, segmenter):
        every = scores(segmenter(GOOD, threshold=0.0))
        assert scores(segmenter(GOOD)) == [score for score in every if score >= 0.2]
        assert scores(segmenter(GOOD, threshold=0.3)) == [score for score in every if score >= 0.3]
        assert scores(segmenter(GOOD, thresholds=Thresholds(0.3))) == [score for score in every if score >= 0.3]
        assert len(segmenter(GOOD, threshold=0.0, thresholds=Thresholds(top_k=3)).segments) == 3
        assert scores(Segmenter(model, "instance", size=64)(GOOD)) == [score for score in every if score >= 0.5]
        assert [scores(result) for result in segmenter.stream([GOOD], threshold=0.0)] == [every]

    @pytest.mark.parametrize("threshold", ["high", "0.5", -0.1, 1.1, float("nan"), True, [0.5]])
    def test_what_is_none_is_told(self, model, segmenter, threshold):
        with pytest.raises(InputError, match="^threshold must be"):
            Segmenter(model, threshold=threshold)
        with pytest.raises(InputError, match="^threshold must be"):
            segmenter(GOOD, threshold=threshold)

    def test_two_of_them_are_one_too_many(self, segmenter):
        with pytest.raises(InputError, match="threshold is given twice"):
            segmenter(GOOD, threshold=0.1, thresholds=Thresholds(threshold=0.2))

    def test_a_task_that_has_none_says_so(self, model):
        with pytest.warns(UserWarning, match="semantic segmentation takes no threshold") as told:
            segmenter = Segmenter(model, "semantic", size=64, threshold=0.5)
        with pytest.warns(UserWarning, match="semantic segmentation takes no threshold") as told_again:
            segmenter(GOOD, threshold=0.5)
        assert told[0].filename == told_again[0].filename == __file__
        segmenter(GOOD)


def test_a_generator_belongs_into_a_stream(segmenter):
    with pytest.raises(InputError, match="got a generator; `stream` takes it"):
        segmenter(photo for photo in [GOOD])


def test_a_task_that_is_set_later_is_checked(model):
    segmenter = Segmenter(model, "panoptic", size=64)
    segmenter.task = "foo"
    with pytest.raises(InputError, match="task must be one of"):
        segmenter(GOOD)


def test_arrays_of_opencv_are_bgr(segmenter):
    photo = read_image(PHOTO)
    wanted = segmenter(photo, threshold=0.0)
    (streamed,) = segmenter.stream([photo[..., ::-1]], bgr=True, threshold=0.0)
    for result in (segmenter(photo[..., ::-1], bgr=True, threshold=0.0), streamed):
        assert np.array_equal(result.image, photo)
        assert np.array_equal(result.map, wanted.map)
    assert np.array_equal(segmenter(PHOTO, bgr=True).image, photo)  # a file knows its own order
    with pytest.raises(InputError, match="bgr must be True or False"):
        segmenter(photo, bgr="yes")


class TestOnError:
    IMAGES = (GOOD, "no.jpg", b"no image", GOOD, None, GOOD[:0])

    @pytest.mark.parametrize("batch_size", [1, 3, 8])
    def test_skipped_images_leave_their_places_in_a_list(self, segmenter, batch_size):
        reason = r"skipped 4 of 6 images: no.jpg does not exist.*; images\[2\]: .*; images\[4\]: .* and 1 more$"
        with pytest.warns(UserWarning, match=reason) as told:
            results = segmenter(list(self.IMAGES), batch_size=batch_size, on_error="skip")
        assert [result is None for result in results] == [False, True, True, False, True, True]
        assert np.array_equal(results[0].map, segmenter(GOOD).map)
        assert len(told) == 1
        assert told[0].filename == __file__

    def test_a_stream_leaves_them_out(self, segmenter):
        for images in (self.IMAGES, iter(self.IMAGES)):
            with pytest.warns(UserWarning, match="skipped 4 of 6 images") as told:
                results = list(segmenter.stream(images, batch_size=2, on_error="skip"))
            assert len(results) == 2
            assert told[0].filename == __file__

    def test_one_gives_none_and_only_bad_ones_give_nothing(self, segmenter):
        with pytest.warns(UserWarning, match="skipped 1 of 1 images: no.jpg"):
            assert segmenter("no.jpg", on_error="skip") is None
        with pytest.warns(UserWarning, match="skipped 2 of 2 images"):
            assert segmenter(["no.jpg", b""], on_error="skip", batch_size=2) == [None, None]

    @pytest.mark.parametrize("batch_size", [1, 4])
    def test_else_the_error_says_which_it_was(self, segmenter, batch_size):
        with pytest.raises(InputError, match=r"^images\[1\]: the image is not an image"):
            segmenter([GOOD, b"no image"], batch_size=batch_size)
        with pytest.raises(InputError, match=r"^no.jpg does not exist"):
            segmenter([GOOD, "no.jpg"], batch_size=batch_size)
        with pytest.raises(InputError, match=r"^the image is not an image"):
            segmenter(b"no image")

    def test_a_word_that_is_none_of_both_is_told(self, segmenter):
        with pytest.raises(InputError, match="on_error must be one of raise, skip, got 'ignore'"):
            segmenter(GOOD, on_error="ignore")


class TestOverflow:
    def test_what_overflows_is_computed_in_float32_with_a_warning(self):
        model = small_model(1)
        head = model.transformer_decoder.class_head
        head.weight = head.weight * 2e4 / mx.abs(head.weight).max()  # its sums are beyond 65504
        exact = Segmenter(model, "semantic", size=64)(GOOD)
        model.set_dtype(mx.float16)
        segmenter = Segmenter(model, "semantic", size=64)
        with pytest.warns(UserWarning, match="^float16 overflowed, so that float32 was used") as told:
            result = segmenter(GOOD)
        assert told[0].filename == __file__
        assert (result.map == exact.map).mean() > 0.9
        assert model.dtype == mx.float16

    def test_what_overflows_there_too_is_told(self):
        model = small_model()
        model.transformer_decoder.class_head.bias = model.transformer_decoder.class_head.bias * mx.inf
        with pytest.raises(InputError, match="class_queries_logits holds NaN or infinite values"):
            Segmenter(model, size=64)(GOOD)


def test_it_says_in_one_line_what_it_is(model):
    assert repr(Segmenter(model, "panoptic")).startswith("<Segmenter: panoptic segmentation, ")


class TestOverlap:
    """The network runs on the next photo while the results of the one before are made."""

    def events(self, monkeypatch, photos):
        events = []
        segmenter = Segmenter(small_model(), "semantic", size=64)
        compute, postprocess = Inference.compute, Segmenter._postprocess

        def logged_compute(*args):
            events.append("network")
            return compute(*args)

        def logged_postprocess(*args):
            deadline = time.monotonic() + 5
            while events.count("network") < 2 and isinstance(photos, list) and time.monotonic() < deadline:
                time.sleep(0.01)
            events.append("result")
            return postprocess(*args)

        monkeypatch.setattr(Inference, "compute", logged_compute)
        monkeypatch.setattr(Segmenter, "_postprocess", logged_postprocess)
        for _ in segmenter.stream(photos):
            events.append("asked")
        return events

    def test_photos_that_are_at_hand(self, monkeypatch):
        assert self.events(monkeypatch, [GOOD] * 2) == ["network", "network", "result", "asked", "result", "asked"]

    def test_photos_that_may_still_have_to_happen_are_not_waited_for(self, monkeypatch):
        events = self.events(monkeypatch, iter([GOOD] * 2))
        assert events == ["network", "result", "asked"] * 2

"""Clips through the network: one decoder for images and clips, and what of a clip is in memory."""

import re

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_model
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid_mlx import InputError, backends, ops
from lucid_mlx.models.vision.mask2former.transformer_decoder import attention_mask
from lucid_mlx.video.clips import most_frames

LOGITS = ("class_queries_logits", "masks_queries_logits")


@pytest.fixture(scope="module")
def model():
    return small_model()


def clip(*shape, seed=0):
    return mx.random.normal(shape, key=mx.random.key(seed))


def relative(one, other):
    assert one.shape == other.shape
    return (mx.abs(one - other).max() / mx.abs(other).max()).item()


def test_a_clip_has_one_class_for_each_query_and_a_mask_in_every_frame(model):
    outputs = model.forward_clip(clip(2, 3, 3, 64, 96))
    queries, classes = model.config.num_queries, model.config.num_labels + 1
    assert outputs["class_queries_logits"].shape == (2, queries, classes)
    assert outputs["masks_queries_logits"].shape == (2, queries, 3, 16, 24)
    assert len(outputs["auxiliary_logits"]) == model.config.decoder_layers - 1
    assert outputs["auxiliary_logits"][0]["masks_queries_logits"].shape == (2, queries, 3, 16, 24)
    assert outputs["transformer_decoder_last_hidden_state"].shape == (2, queries, model.config.hidden_dim)
    assert outputs["transformer_decoder_intermediate_states"][-1].shape == (queries, 2, model.config.hidden_dim)
    assert model.forward_clip(clip(1, 1, 3, 32, 32), output_auxiliary_logits=False)["auxiliary_logits"] is None


def test_a_clip_of_one_frame_is_an_image(model):
    images = clip(2, 3, 64, 96)
    one, other = model.forward_clip(images[:, None]), model(images)
    assert relative(one["class_queries_logits"], other["class_queries_logits"]) < 1e-5
    assert relative(one["masks_queries_logits"][:, :, 0], other["masks_queries_logits"]) < 1e-5


def test_the_clips_of_a_batch_do_not_mix(model):
    clips = clip(2, 3, 3, 64, 64)
    together, apart = model.forward_clip(clips), [model.forward_clip(clips[number : number + 1]) for number in (0, 1)]
    for name in LOGITS:
        assert relative(together[name], mx.concatenate([each[name] for each in apart])) < 1e-5


def test_the_frames_of_a_clip_see_each_other_and_their_order(model):
    frames = clip(1, 3, 3, 64, 64)
    whole, backwards = model.forward_clip(frames), model.forward_clip(frames[:, ::-1])
    alone = model.forward_clip(frames[:, :1])
    assert relative(whole["masks_queries_logits"][:, :, :1], alone["masks_queries_logits"]) > 1e-2
    assert relative(backwards["class_queries_logits"], whole["class_queries_logits"]) > 1e-4


def test_a_query_whose_mask_is_empty_in_one_frame_attends_to_the_others_alone():
    logits = mx.array([[[-1.0, -1.0, 2.0, -3.0], [-1.0, -2.0, -3.0, -4.0]]])  # two frames of two cells
    assert attention_mask(logits).tolist() == [[[False, False, True, False], [True, True, True, True]]]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.sampled_from([4, 8, 12]))
@settings(deadline=None, max_examples=20)
def test_the_positions_of_a_clip_are_those_of_its_frames_and_their_number_added(frames, height, width, channels):
    def encoded(count, channels):
        place = np.arange(1, count + 1) / (count + 1e-6) * 2 * np.pi
        table = np.empty((count, channels))
        for channel in range(channels):
            angle = place / 10000 ** ((channel - channel % 2) / channels)
            table[:, channel] = np.cos(angle) if channel % 2 else np.sin(angle)
        return table

    wanted = np.empty((frames, height, width, channels))
    wanted[..., : channels // 2] = encoded(height, channels // 2)[:, None]
    wanted[..., channels // 2 :] = encoded(width, channels // 2)
    wanted += encoded(frames, channels)[:, None, None]
    got = ops.sine_positions(height, width, channels, frames=frames)
    np.testing.assert_allclose(np.array(got), wanted.reshape(-1, channels), atol=1e-5)


def test_a_clip_may_be_an_array_of_numpy(model):
    frames = clip(1, 2, 3, 32, 32)
    got = model.forward_clip(np.array(frames))["masks_queries_logits"]
    assert mx.array_equal(got, model.forward_clip(frames)["masks_queries_logits"])


def test_a_compiled_network_takes_clips(model):
    frames = clip(1, 2, 3, 32, 32)
    compiled = mx.compile(lambda x: model.forward_clip(x)["masks_queries_logits"])
    assert relative(compiled(frames), model.forward_clip(frames)["masks_queries_logits"]) < 1e-5


def test_a_frame_is_computed_before_the_next_one_begins(model):
    frames = [clip(1, 3, 128, 128, seed=number) for number in range(6)]
    mx.eval(frames)

    def peak(count):
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        kept = ops.computed_in_turn(model._features, frames[:count])
        mx.eval(kept)
        return mx.get_peak_memory() - before, sum(each.nbytes for each in kept)

    (one, _), (six, kept) = peak(1), peak(6)
    assert six < one + 2.5 * kept < 3 * one
    assert [x.shape[0] for x in ops.computed_in_turn(model._features, frames)] == [6] * 4


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (mx.zeros((2, 3, 32, 32)), "got (2, 3, 32, 32)"),
        (mx.zeros((1, 0, 3, 32, 32)), "got (1, 0, 3, 32, 32)"),
        ("clip", "must be an array of MLX or NumPy, got 'clip'"),
        (mx.zeros((1, 2, 4, 32, 32)), "(batch, frames, 3, height, width), got (1, 2, 4, 32, 32)"),
    ],
)
def test_what_is_no_clip_is_refused(model, value, got):
    with pytest.raises(InputError, match=re.escape(got)):
        model.forward_clip(value)


def test_a_clip_that_does_not_fit_is_refused_with_the_number_of_frames_that_would(model, monkeypatch):
    frames = mx.zeros((1, 9, 3, 64, 96))
    most = most_frames(model, 64, 96)
    monkeypatch.setattr(backends, "memory_size", lambda: 1_000_000)
    fitting = most_frames(model, 64, 96)
    assert 0 < fitting < 9 < most
    with pytest.raises(
        InputError, match=rf"9 frames of 96x64 pixels at once .* there are 0.001 GB: {fitting} would fit"
    ):
        model.forward_clip(frames)
    mx.eval(model.forward_clip(frames[:, :fitting])["masks_queries_logits"])
    monkeypatch.setattr(backends, "memory_size", lambda: 1000)
    with pytest.raises(InputError, match="1 frame of 96x64 pixels at once takes .* not one would fit; give smaller"):
        model.forward_clip(frames[:, :1])


@pytest.mark.cpu("the estimate counts the scores of attention, which a GPU does not keep")
def test_the_estimate_is_near_what_a_clip_takes(model, monkeypatch):
    def peak(count):
        frames = clip(1, count, 3, 256, 320)
        mx.eval(frames)
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        outputs = model.forward_clip(frames, output_auxiliary_logits=False)
        mx.eval([outputs[name] for name in LOGITS])
        return mx.get_peak_memory() - before

    each = (peak(24) - peak(8)) / 16
    monkeypatch.setattr(backends, "memory_size", lambda: 1_000_000_000)
    assert 0.8 < 1e9 / most_frames(model, 256, 320) / each < 1.4

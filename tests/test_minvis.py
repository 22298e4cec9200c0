"""Queries matched from frame to frame, as MinVIS does."""

import re

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from lucid_mlx import InputError
from lucid_mlx.video import match_frames, match_queries, query_embeddings

QUERIES, FRAMES = 7, 4


def some_frames(seed, queries=QUERIES, frames=FRAMES):
    """What a network might return for each frame, with embeddings that move from frame to frame."""
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((queries, 16))
    for _ in range(frames):
        embeddings = embeddings + 0.4 * rng.standard_normal(embeddings.shape)
        order = rng.permutation(queries)
        yield {
            "class_queries_logits": mx.array(rng.standard_normal((1, queries, 5)).astype(np.float32)),
            "masks_queries_logits": mx.array(rng.standard_normal((1, queries, 3, 4)).astype(np.float32)),
            "transformer_decoder_intermediate_states": [mx.array(embeddings[order].astype(np.float32))[:, None]],
        }


def shuffled(frame, order):
    order = mx.array(order)
    return {
        "class_queries_logits": frame["class_queries_logits"][:, order],
        "masks_queries_logits": frame["masks_queries_logits"][:, order],
        "transformer_decoder_intermediate_states": [frame["transformer_decoder_intermediate_states"][-1][order]],
    }


@given(st.integers(0, 10_000), st.permutations(range(QUERIES)))
@settings(deadline=None, max_examples=30)
def test_the_assignment_has_the_largest_sum_of_cosines_whatever_the_lengths(seed, order):
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((2, QUERIES, 9)).astype(np.float32)
    permutation = np.array(match_queries(mx.array(one), mx.array(other * rng.uniform(0.1, 9, (QUERIES, 1)))))
    cosines = one @ other.T / np.outer(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
    assert sorted(permutation) == list(range(QUERIES))
    rows, columns = linear_sum_assignment(-cosines)
    assert cosines[np.arange(QUERIES), permutation].sum() == pytest.approx(cosines[rows, columns].sum(), abs=1e-5)
    same = match_queries(mx.array(one), mx.array(one[list(order)]))
    assert np.array_equal(one[list(order)][np.array(same)], one)


@given(st.integers(0, 10_000), st.integers(1, FRAMES - 1), st.permutations(range(QUERIES)))
@settings(deadline=None, max_examples=30)
def test_shuffling_the_queries_of_a_frame_changes_nothing(seed, number, order):
    frames = list(some_frames(seed))
    before = match_frames(frames)
    frames[number] = shuffled(frames[number], order)
    after = match_frames(frames)
    for name in ("class_logits", "mask_logits", "embeddings"):
        assert np.allclose(np.array(getattr(after, name)), np.array(getattr(before, name)), atol=1e-6)
    moved = np.array(after.matches)
    moved[number] = np.array(order)[moved[number]]
    assert np.array_equal(moved, np.array(before.matches))


@given(st.integers(0, 10_000), st.permutations(range(QUERIES)))
@settings(deadline=None, max_examples=20)
def test_shuffling_the_queries_of_the_first_frame_shuffles_those_of_the_video(seed, order):
    frames = list(some_frames(seed))
    before = match_frames(frames)
    after = match_frames([shuffled(frames[0], order), *frames[1:]])
    for name in ("class_logits", "mask_logits", "embeddings"):
        assert np.allclose(np.array(getattr(after, name)), np.array(getattr(before, name))[list(order)], atol=1e-6)


def test_class_logits_are_averaged_over_the_frames_as_they_were_matched():
    frames = list(some_frames(3))
    found = match_frames(iter(frames))
    matches = np.array(found.matches)
    assert matches.shape == (FRAMES, QUERIES)
    assert matches[0].tolist() == list(range(QUERIES))
    logits = [np.array(frame["class_queries_logits"][0])[row] for frame, row in zip(frames, matches, strict=True)]
    np.testing.assert_allclose(np.array(found.class_logits), np.mean(logits, axis=0), atol=1e-6)
    masks = [np.array(frame["masks_queries_logits"][0])[row] for frame, row in zip(frames, matches, strict=True)]
    np.testing.assert_array_equal(np.array(found.mask_logits), np.stack(masks, axis=1))


def test_frames_may_come_in_batches_of_a_network():
    model = small_model()
    frames = mx.random.normal((4, 3, 64, 64), key=mx.random.key(1))
    apart, together = match_frames(model(frame[None]) for frame in frames), match_frames([model(frames)])
    assert np.array_equal(np.array(apart.matches), np.array(together.matches))
    assert np.allclose(np.array(apart.class_logits), np.array(together.class_logits), atol=1e-4)
    assert query_embeddings(model(frames)).shape == (4, model.config.num_queries, model.config.hidden_dim)


def test_embeddings_of_no_length_are_no_error():
    order = match_queries(mx.zeros((3, 4)), mx.ones((3, 4)))
    assert sorted(np.array(order).tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("previous", "current", "message"),
    [
        (mx.zeros((3, 4)), mx.zeros((2, 4)), "must have one shape (queries, channels), got (3, 4), (2, 4)"),
        (mx.zeros((1, 3, 4)), mx.zeros((3, 4)), "previous must be an array (queries, channels), got (1, 3, 4)"),
        (mx.zeros((3, 4)), [1], "current must be an array (queries, channels), got [1]"),
        (mx.zeros((3, 4)), mx.full((3, 4), float("inf")), "current holds NaN or infinite values"),
    ],
)
def test_what_cannot_be_matched_is_refused(previous, current, message):
    with pytest.raises(InputError, match=re.escape(message)):
        match_queries(previous, current)


def test_a_video_without_frames_is_refused():
    with pytest.raises(InputError, match="there are no frames"):
        match_frames([])

"""From the logits of a clip to its objects."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid_mlx import InputError
from lucid_mlx.ops import resize_planes
from lucid_mlx.postprocessing import video_instances


def logits(seed=0, queries=5, labels=3, frames=4, size=(6, 8)):
    rng = np.random.default_rng(seed)
    return (
        mx.array(3 * rng.standard_normal((queries, labels + 1)).astype(np.float32)),
        mx.array(rng.standard_normal((queries, frames, *size)).astype(np.float32)),
    )


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(10, 60), st.integers(10, 60))
@settings(deadline=None, max_examples=25)
def test_pairs_of_query_and_class_become_objects_with_masks_of_the_size_asked_for(seed, top_k, height, width):
    class_logits, mask_logits = logits(seed)
    found = video_instances(class_logits, mask_logits, (24, 32), (height, width), (20, 27), top_k)
    probabilities = np.array(mx.softmax(class_logits, axis=-1))[:, :-1]
    best = np.argsort(-probabilities.ravel(), kind="stable")[:top_k]
    np.testing.assert_allclose(found.scores, probabilities.ravel()[best], rtol=1e-5)
    assert found.labels.tolist() == (best % 3).tolist()
    assert found.masks.shape == (min(top_k, 15), 4, height, width)
    in_input = resize_planes(mask_logits, (24, 32))[..., :20, :27]
    wanted = np.array(resize_planes(in_input, (height, width)))[best // 3]
    certain = np.abs(wanted) > 1e-5
    assert (found.masks == (wanted > 0))[certain].all()


def test_a_frame_at_a_time_gives_the_same():
    class_logits, mask_logits = logits()
    scores, labels, masks = video_instances(class_logits, mask_logits, (24, 32), (30, 40))
    for frame in range(4):
        each = video_instances(class_logits, mask_logits[:, frame : frame + 1], (24, 32), (30, 40))
        assert np.array_equal(each.scores, scores)
        assert np.array_equal(each.labels, labels)
        assert np.array_equal(each.masks[:, 0], masks[:, frame])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_logits": mx.zeros((1, 5, 4))}, "class_logits must be an array of 2 dimensions, got (1, 5, 4)"),
        ({"mask_logits": mx.zeros((5, 6, 8))}, "mask_logits must be an array of 4 dimensions, got (5, 6, 8)"),
        ({"mask_logits": mx.zeros((4, 2, 6, 8))}, "differ in batch or queries"),
        ({"mask_logits": mx.full((5, 2, 6, 8), float("nan"))}, "masks_queries_logits holds NaN"),
        ({"content_size": (25, 32)}, "must lie within the input_size"),
        ({"target_size": (0, 3)}, "whole heights and widths of at least 1"),
        ({"top_k": 0}, "top_k"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    class_logits, mask_logits = logits()
    arguments = {
        **{"class_logits": class_logits, "mask_logits": mask_logits},
        **{"input_size": (24, 32), "target_size": (24, 32), **changed},
    }
    with pytest.raises(InputError) as error:
        video_instances(**arguments)
    assert message in str(error.value)

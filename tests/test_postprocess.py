import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logits import CONFIDENT, NO_OBJECT, boxed, labeled, noise, outputs

from lucid_mlx import InputError
from lucid_mlx.postprocessing import (
    huggingface,
    instance_segmentation,
    panoptic_segmentation,
    semantic_segmentation,
    tiles,
)
from lucid_mlx.postprocessing.inputs import ImageSizes


def lerp(x, size, axes=(0, 1)):
    """Resize the first two axes bilinearly, with NumPy's interpolation in float64."""
    for axis, count in zip(axes, size, strict=True):
        positions = (np.arange(count) + 0.5) * x.shape[axis] / count - 0.5
        x = np.apply_along_axis(lambda line, at=positions: np.interp(at, np.arange(len(line)), line), axis, x)
    return x


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


SIZES = [
    ((28, 40), (28, 40), (33, 50)),
    ((28, 40), (21, 33), (50, 19)),
    ((26, 39), (26, 1), (3, 3)),
    ((28, 40), (1, 1), (1, 1)),
    ((28, 40), (28, 40), (1, 700)),
    ((28, 40), (21, 33), (21, 33)),
]


@pytest.fixture(params=[(1 << 20, 512), (2000, 7)], ids=["one tile", "many tiles"])
def _tile_sizes(request, monkeypatch):
    monkeypatch.setattr(tiles, "tile_size", lambda: request.param)


@pytest.mark.usefixtures("_tile_sizes")
@pytest.mark.parametrize("sizes", SIZES, ids=str)
class TestDefinition:
    """Each result equals its definition at full size, with any tile size."""

    def scores(self, sizes):
        network = noise(0)
        logits = np.array(network["class_queries_logits"][0], np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        classes = (powers / powers.sum(axis=1, keepdims=True))[:, :-1]
        masks = lerp(np.array(network["masks_queries_logits"][0], np.float64).transpose(1, 2, 0), sizes[0])
        return network, classes, masks[: sizes[1][0], : sizes[1][1]]

    @pytest.mark.parametrize("resize_scores", [False, True])
    def test_semantic(self, sizes, resize_scores):
        network, classes, masks = self.scores(sizes)
        scores = lerp(sigmoid(masks) @ classes, sizes[2]) if resize_scores else sigmoid(lerp(masks, sizes[2])) @ classes
        got = semantic_segmentation(
            network, sizes[0], [sizes[2]], content_sizes=[sizes[1]], resize_scores=resize_scores
        )[0]  # fmt: skip
        assert got.dtype == mx.int32
        assert_equal_but_for_ties(np.array(got), scores)

    def test_panoptic(self, sizes):
        network, classes, masks = self.scores(sizes)
        kept = np.flatnonzero(classes.max(axis=1) > 0.6)
        assert len(kept) > 2
        masks = sigmoid(lerp(masks, sizes[2]))[..., kept]
        # With an overlap threshold of 0 and only things there is a segment for each query with a pixel.
        got = panoptic_segmentation(
            network, sizes[0], [sizes[2]], content_sizes=[sizes[1]],
            thing_ids=range(5), threshold=0.6, overlap_mask_area_threshold=0.0,
        )[0]  # fmt: skip
        winner = (masks * classes.max(axis=1)[kept]).argmax(axis=-1)
        inside = np.take_along_axis(masks, winner[..., None], -1)[..., 0] >= 0.5
        present = [query for query in range(len(kept)) if (inside & (winner == query)).any()]
        wanted = np.zeros(sizes[2], int)
        for number, query in enumerate(present, start=1):
            wanted[inside & (winner == query)] = number
        assert np.array_equal(np.array(got.segmentation), wanted)
        assert [one.label_id for one in got.segments] == classes.argmax(axis=1)[kept][present].tolist()

    def test_instance(self, sizes):
        network, classes, masks = self.scores(sizes)
        masks = lerp(masks, sizes[2])
        got = instance_segmentation(network, sizes[0], [sizes[2]], content_sizes=[sizes[1]], top_k=1000)[0]
        assert len(got) == classes.size
        inside = masks > 0
        means = (sigmoid(masks) * inside).sum(axis=(0, 1)) / (inside.sum(axis=(0, 1)) + 1e-6)
        wanted = classes * means[:, None]
        order = np.argsort(-wanted, axis=None, kind="stable")
        np.testing.assert_allclose(np.array(got.scores), wanted.ravel()[order], rtol=1e-5, atol=1e-9)
        nonempty = slice(0, int((means > 0).sum()))  # empty masks share the score 0
        queries, labels = np.unravel_index(order, wanted.shape)
        assert np.array_equal(np.array(got.label_ids)[nonempty], labels[nonempty])
        assert np.array_equal(np.array(got.areas)[nonempty], inside.sum(axis=(0, 1))[queries][nonempty])
        assert np.array_equal(np.array(got.masks())[nonempty], inside.transpose(2, 0, 1)[queries][nonempty])
        for box, query in zip(got.boxes.tolist()[nonempty], queries[nonempty], strict=True):
            rows, columns = np.nonzero(inside[..., query])
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]

    def test_two_resizes_are_one_product(self, sizes):
        planes = np.random.default_rng(0).standard_normal((7, 10, 1))
        wanted = lerp(lerp(planes, sizes[0])[: sizes[1][0], : sizes[1][1]], sizes[2])[..., 0]
        rows, columns = (tiles.axis_weights(length, ImageSizes(*sizes), axis) for axis, length in enumerate((7, 10)))
        np.testing.assert_allclose(rows @ planes[..., 0] @ columns.T, wanted, atol=1e-6)


def assert_equal_but_for_ties(got, scores):
    top = np.sort(scores, axis=-1)
    clear = top[..., -1] - top[..., -2] > 1e-6 * top[..., -1]
    assert np.array_equal(got[clear], scores.argmax(axis=-1)[clear])
    assert clear.mean() > 0.99


class TestPanoptic:
    def panoptic(self, classes, masks, thing_ids=(0,), **options):
        return panoptic_segmentation(outputs(classes, masks), (8, 8), thing_ids=thing_ids, **options)[0]

    def test_things_stay_apart_and_stuff_is_merged(self):
        left, right, top, bottom = (0, 4, 0, 3), (0, 4, 5, 8), (4, 6, 0, 8), (7, 8, 0, 8)
        got = self.panoptic(labeled(0, 1, 0, 1), boxed(left, top, right, bottom))
        wanted = np.zeros((8, 8), int)
        wanted[:4, :3], wanted[4:6], wanted[7], wanted[:4, 5:] = 1, 2, 2, 3
        assert np.array_equal(np.array(got.segmentation), wanted)
        assert [(one.id, one.label_id, one.area) for one in got.segments] == [(1, 0, 12), (2, 1, 24), (3, 0, 12)]
        assert all(one.score == pytest.approx(1.0, abs=1e-6) for one in got.segments)

    @pytest.mark.parametrize("uncertain", [0, 1])
    def test_a_merged_segment_has_the_highest_score(self, uncertain):
        classes = labeled(1, 1)
        classes[uncertain, 1] = 3.0
        got = self.panoptic(classes, boxed((0, 4, 0, 8), (4, 8, 0, 8)))
        assert len(got.segments) == 1
        assert got.segments[0].score == pytest.approx(1.0, abs=1e-6)

    def test_a_query_that_lost_a_fifth_of_its_mask_is_dropped(self):
        whole, over = (0, 5, 0, 1), (0, 1, 0, 8)
        masks = boxed(whole, over)
        masks[1] = np.where(masks[1] > 0, 18.0, -5.0)
        # Four of five pixels are enough, and three of four are not.
        assert [one.area for one in self.panoptic(labeled(0, 0), masks).segments] == [4, 8]
        masks[0, 4] = -9.0
        got = self.panoptic(labeled(0, 0), masks)
        assert [(one.id, one.area) for one in got.segments] == [(1, 8)]
        assert np.array(got.segmentation)[1:].max() == 0

    def test_pixels_won_outside_the_mask_are_empty_but_count_as_won(self):
        # Where both masks are improbable, the first wins pixels outside of its mask.
        masks = boxed((0, 1, 0, 4), (4, 8, 0, 8))
        masks[0] += 1.0
        got = self.panoptic(labeled(0, 1), masks, overlap_mask_area_threshold=5.0)
        assert [(one.label_id, one.area) for one in got.segments] == [(0, 4)]

    @pytest.mark.parametrize("labels", [(NO_OBJECT,), (NO_OBJECT, NO_OBJECT)])
    def test_no_object_gives_an_empty_map(self, labels):
        got = self.panoptic(labeled(*labels), boxed(*[(0, 8, 0, 8)] * len(labels)))
        assert got.segments == []
        assert got.segmentation.dtype == mx.int32
        assert not np.array(got.segmentation).any()

    def test_a_query_with_a_low_score_does_not_compete(self):
        assert self.panoptic(labeled(0) / 20, boxed((0, 8, 0, 8))).segments == []
        assert len(self.panoptic(labeled(0) / 20, boxed((0, 8, 0, 8)), threshold=0.5).segments) == 1

    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 2**16),
        target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
        things=st.sets(st.integers(0, 4)),
        overlap=st.floats(0, 1),
    )
    def test_map_and_segments_agree(self, seed, target, things, overlap):
        got = panoptic_segmentation(
            noise(seed), (28, 40), [target], thing_ids=things, threshold=0.3, overlap_mask_area_threshold=overlap
        )[0]
        areas = np.bincount(np.array(got.segmentation).ravel(), minlength=len(got.segments) + 1)
        assert got.segmentation.shape == target
        assert [one.id for one in got.segments] == list(range(1, len(got.segments) + 1))
        assert [one.area for one in got.segments] == areas[1:].tolist()
        assert all(one.area > 0 and 0.3 < one.score <= 1 for one in got.segments)
        stuff = [one.label_id for one in got.segments if one.label_id not in things]
        assert len(set(stuff)) == len(stuff)


class TestInstance:
    def test_boxes_areas_and_scores(self):
        classes = np.full((2, 3), -CONFIDENT)
        classes[0, 1], classes[1, 0] = CONFIDENT, CONFIDENT
        classes[1, 2] = CONFIDENT  # probability one half
        got = instance_segmentation(outputs(classes, boxed((1, 3, 2, 7), (0, 8, 7, 8))), (8, 8), top_k=2)[0]
        assert got.label_ids.tolist() == [1, 0]
        assert got.boxes.tolist() == [[2, 1, 7, 3], [7, 0, 8, 8]]
        assert got.areas.tolist() == [10, 8]
        np.testing.assert_allclose(np.array(got.scores), [sigmoid(9), sigmoid(9) / 2], rtol=1e-6)

    def test_one_query_may_be_two_objects(self):
        classes = [[0.0, 0.0, -CONFIDENT]]
        got = instance_segmentation(outputs(classes, boxed((0, 1, 0, 1))), (8, 8))[0]
        assert got.label_ids.tolist() == [0, 1]
        assert np.array_equal(np.array(got.masks()).sum(axis=(1, 2)), [1, 1])

    def test_of_the_top_pairs_only_things_are_kept(self):
        network = outputs(labeled(0, 1, 1), boxed(*[(0, 8, 0, 8)] * 3))
        got = instance_segmentation(network, (8, 8), thing_ids={0}, top_k=3)[0]
        assert got.label_ids.tolist() == [0]

    def test_without_things_there_is_no_object(self):
        got = instance_segmentation(outputs(labeled(0), boxed((0, 8, 0, 8))), (8, 8), thing_ids=())[0]
        assert len(got) == 0
        assert got.boxes.shape == (0, 4)
        assert got.masks().shape == (0, 8, 8)

    def test_an_empty_mask_has_score_0_and_no_box(self):
        got = instance_segmentation(outputs(labeled(0), boxed((0, 0, 0, 0))), (8, 8), top_k=1)[0]
        assert (got.scores.item(), got.areas.item(), got.boxes.tolist()) == (0.0, 0, [[0, 0, 0, 0]])

    def test_masks_can_be_selected(self):
        got = instance_segmentation(noise(0), (28, 40), [(31, 17)])[0]
        everything = np.array(got.masks())
        assert everything.shape == (len(got), 31, 17)
        assert np.array_equal(np.array(got.masks([4, 0])), everything[[4, 0]])
        assert got.masks([]).shape == (0, 31, 17)

    @settings(max_examples=40, deadline=None)
    @given(
        seed=st.integers(0, 2**16),
        target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
        top_k=st.integers(1, 100),
    )
    def test_values_are_in_their_ranges(self, seed, target, top_k):
        got = instance_segmentation(noise(seed), (28, 40), [target], top_k=top_k)[0]
        scores, boxes = np.array(got.scores), np.array(got.boxes)
        assert len(got) == min(top_k, 30)
        assert (scores >= 0).all()
        assert (scores <= 1).all()
        assert (np.diff(scores) <= 0).all()
        assert set(got.label_ids.tolist()) <= set(range(5))
        height, width = target
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= [width, height]).all()
        sides = boxes[:, 2:] - boxes[:, :2]
        assert (np.array(got.areas) <= sides.prod(axis=1)).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    targets=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=2, max_size=2),
    resize_scores=st.booleans(),
)
def test_each_pixel_of_each_image_has_a_class(seed, targets, resize_scores):
    got = semantic_segmentation(noise(seed, batch=2), (28, 40), targets, resize_scores=resize_scores)
    assert [x.shape for x in got] == targets
    assert all(x.min().item() >= 0 and x.max().item() < 5 for x in got)


def test_padding_is_cropped():
    # The right half of the input is padding, where the second class is.
    network = outputs(labeled(0, 1), boxed((0, 8, 0, 4), (0, 8, 4, 8)))
    assert not semantic_segmentation(network, (32, 32), [(9, 9)], content_sizes=[(32, 14)])[0].any().item()
    assert semantic_segmentation(network, (32, 32), [(9, 9)])[0].any().item()


def test_half_precision_logits_give_the_map_of_their_values():
    half = {name: x.astype(mx.float16) for name, x in noise(0).items()}
    full = {name: x.astype(mx.float32) for name, x in half.items()}
    maps = [np.array(semantic_segmentation(x, (28, 40))[0]) for x in (half, full)]
    assert np.array_equal(*maps)


class TestBadInput:
    @pytest.mark.parametrize("name", ["class_queries_logits", "masks_queries_logits"])
    @pytest.mark.parametrize("value", [mx.nan, mx.inf])
    def test_logits_that_are_not_finite_are_reported(self, name, value):
        network = noise(0)
        network[name] = mx.where(mx.arange(network[name].shape[-1]) == 1, value, network[name])
        with pytest.raises(InputError, match=f"{name} holds NaN or infinite"):
            semantic_segmentation(network, (28, 40))

    @pytest.mark.parametrize("name", ["class_queries_logits", "masks_queries_logits"])
    def test_missing_logits_are_reported(self, name):
        for value in (None, mx.zeros((3, 4))):
            with pytest.raises(InputError, match=f"outputs' {name} must be an array of"):
                panoptic_segmentation({**noise(0), name: value}, (28, 40), thing_ids=())

    def test_logits_of_different_networks_are_reported(self):
        network = {**noise(0), "class_queries_logits": noise(0, queries=5)["class_queries_logits"]}
        with pytest.raises(InputError, match="differ in batch or queries"):
            instance_segmentation(network, (28, 40))

    def test_logits_of_no_object_alone_are_reported(self):
        with pytest.raises(InputError, match='got "no object" alone'):
            semantic_segmentation(noise(0, labels=0), (28, 40))

    @pytest.mark.parametrize("size", [(0, 4), (4, 4.0), (4,), 4, (True, 4), "44"])
    def test_bad_sizes_are_reported(self, size):
        with pytest.raises(InputError, match="target_sizes must hold whole heights and widths"):
            semantic_segmentation(noise(0), (28, 40), [size])
        with pytest.raises(InputError, match="input_size must hold"):
            semantic_segmentation(noise(0), size)

    def test_another_number_of_sizes_than_images_is_reported(self):
        with pytest.raises(InputError, match="for each of the 1 images"):
            huggingface.post_process_panoptic_segmentation(noise(0), target_sizes=[(1, 1)] * 2)

    def test_a_content_size_larger_than_the_input_is_reported(self):
        with pytest.raises(InputError, match=r"must lie within the input_size \(28, 40\)"):
            semantic_segmentation(noise(0), (28, 40), content_sizes=[(28, 41)])

    @pytest.mark.parametrize("top_k", [0, 1.0, True])
    def test_a_top_k_below_one_is_reported(self, top_k):
        with pytest.raises(InputError, match="top_k must be"):
            instance_segmentation(noise(0), (28, 40), top_k=top_k)

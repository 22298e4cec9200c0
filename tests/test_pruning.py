"""Results that are decided by bounds are those that are computed pixel by pixel."""

import mlx.core as mx
import numpy as np
import pytest
from helpers import SCENE, SCENES
from hypothesis import given, settings
from hypothesis import strategies as st

import lucid_mlx
from lucid_mlx.ops import softmax
from lucid_mlx.postprocessing import panoptic, pruning, semantic
from lucid_mlx.postprocessing.inputs import ImageSizes
from lucid_mlx.preprocessing import preprocess, read_image

TIE = 1e-5  # of the best score


def blobs(seed, queries=12, labels=9, size=(12, 14)):
    """Logits as those of a trained network: each query sees a blob, and some are sure of a class."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    center, radius = rng.uniform(0, max(size), (2, queries, 1, 1)), rng.uniform(1, 60, (queries, 1, 1))
    masks = np.clip(rng.uniform(2, 9) - ((y - center[0]) ** 2 + (x - center[1]) ** 2) / radius, -20, 20)
    masks[0] = 6.0  # of a background
    classes = rng.standard_normal((queries, labels + 1))
    classes[:, -1] += 6
    classes[: queries // 2, : labels // 2] += 12 * rng.random((queries // 2, labels // 2))
    return mx.array(classes.astype(np.float32)), mx.array(masks.astype(np.float32))


def some_sizes(rng, size=(12, 14)):
    """The sizes of an image whose photo is larger than what the network saw, which has padding."""
    input_size = (4 * size[0], 4 * size[1])
    content = tuple(int(rng.integers(side // 2, side + 1)) for side in input_size)
    if rng.random() < 0.3:
        return ImageSizes(input_size, content, content)
    return ImageSizes(input_size, content, tuple(int(side * rng.uniform(0.7, 4)) + 1 for side in content))


def check_semantic(class_logits, mask_logits, sizes, resize_scores):
    """Check that the map has the best class everywhere, but for ties; return whether bounds decided at all."""
    class_probabilities = mx.contiguous(softmax(class_logits)[:, :-1])
    resize_scores = resize_scores and sizes.content_size != sizes.target_size
    rule = semantic._BestClass(np.array(class_probabilities), resize_scores)
    got = pruning.pruned_map(mask_logits, sizes, rule, np.dtype(np.int32))
    if got is None:
        return False
    for region, scores in semantic._class_scores(class_probabilities, mask_logits, sizes, resize_scores):
        scores = np.array(scores)
        found = np.take_along_axis(scores, got[region][..., None], axis=-1)[..., 0]
        best = scores.max(axis=-1)
        assert (found >= best - TIE * best).all()
    return True


def plainly(function, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        for module in (semantic, panoptic):
            patch.setattr(module, "pruned_map", lambda *_: None)
        return function(*arguments)


def check_panoptic(class_logits, mask_logits, sizes, threshold=0.5):
    """Check that codes and counts are those of plain computing, but for pixels that are a tie."""
    kept, scores, _ = panoptic.kept_queries(class_logits, threshold)
    if not len(kept):
        return
    arguments = mask_logits[mx.array(kept)], scores, sizes, 0.5
    codes, counts = panoptic._codes(*arguments)
    plain_codes, plain_counts = plainly(panoptic._codes, *arguments)
    different = np.count_nonzero(codes != plain_codes)
    assert different <= 2 + codes.size // 50_000
    assert np.abs(counts.codes - plain_counts.codes).max() <= different
    assert np.abs(counts.masks - plain_counts.masks).max() <= 2 + codes.size // 50_000
    assert counts.codes.sum() == codes.size
    assert np.array_equal(np.bincount(codes.ravel(), minlength=len(counts.codes)), counts.codes)


@pytest.mark.parametrize("resize_scores", [False, True])
def test_semantic_maps_of_many_logits(resize_scores):
    pruned = 0
    for seed in range(250):
        sizes = some_sizes(np.random.default_rng(seed))
        pruned += check_semantic(*blobs(seed), sizes, resize_scores)
    assert pruned > 100


def test_panoptic_codes_and_counts_of_many_logits():
    for seed in range(250):
        check_panoptic(*blobs(seed), some_sizes(np.random.default_rng(seed)))


@settings(max_examples=250, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), sharp=st.floats(0.1, 30), resize_scores=st.booleans())
def test_noise(seed, sharp, resize_scores):
    rng = np.random.default_rng(seed)
    classes = mx.array(3 * rng.standard_normal((5, 4)).astype(np.float32))
    masks = mx.array(sharp * rng.standard_normal((5, 6, 7)).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "MOST_OPEN", 1.0)
        sizes = some_sizes(rng, (6, 7))
        check_semantic(classes, masks, sizes, resize_scores)
        check_panoptic(classes, masks, sizes, threshold=0.2)


@pytest.fixture(scope="module")
def trained():
    """Logits of the network in the package."""
    segmenter = lucid_mlx.Segmenter(SCENES)
    photo = read_image(SCENE)
    outputs = segmenter.model(preprocess(photo, segmenter.image_config).pixels.transpose(0, 3, 1, 2))
    return outputs["class_queries_logits"][0], outputs["masks_queries_logits"][0]


@pytest.mark.parametrize("target", [(128, 128), (300, 311), (901, 800)])
def test_logits_of_a_trained_network(trained, target):
    height, width = trained[1].shape[1:]
    input_size = (4 * height, 4 * width)
    sizes = ImageSizes(input_size, input_size, target)
    assert check_semantic(*trained, sizes, resize_scores=False)
    assert check_semantic(*trained, sizes, resize_scores=True)
    check_panoptic(*trained, sizes)


def test_most_of_a_photo_is_decided_by_bounds(trained, monkeypatch):
    computed = []
    values = semantic._BestClass.values
    monkeypatch.setattr(
        semantic._BestClass,
        "values",
        lambda rule, mixed, counts: computed.append(counts.sum()) or values(rule, mixed, counts),
    )
    sizes = ImageSizes((128, 128), (128, 128), (1280, 1280))
    semantic.semantic_map(*trained, sizes, False)
    assert 0 < sum(computed) < 0.1 * 1280 * 1280


def test_noise_is_computed_in_the_plain_way(monkeypatch):
    values, single = semantic._BestClass.values, []
    monkeypatch.setattr(
        semantic._BestClass,
        "values",
        lambda rule, mixed, counts: single.append(counts.sum()) or values(rule, mixed, counts),
    )
    rng = np.random.default_rng(0)
    classes, masks = rng.standard_normal((8, 5)), 5 * rng.standard_normal((8, 48, 48))
    sizes = ImageSizes((192, 192), (192, 192), (768, 768))
    semantic.semantic_map(mx.array(classes.astype(np.float32)), mx.array(masks.astype(np.float32)), sizes, False)
    assert sum(single) < 0.06 * 768 * 768  # a sample, which tells that bounds do not help


@pytest.mark.parametrize("resize_scores", [False, True])
def test_pictures_that_are_many_times_as_large_as_the_input(resize_scores):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        classes, masks = blobs(seed, size=(5, 6))
        sizes = ImageSizes((20, 24), (20, int(rng.integers(12, 25))), tuple(rng.integers(150, 500, 2).tolist()))
        check_semantic(classes, masks, sizes, resize_scores)
        check_panoptic(classes, masks, sizes)


def test_smooth_logits_are_pruned_though_most_blocks_are_open(monkeypatch):
    classes, masks = blobs(1, size=(8, 8))
    monkeypatch.setattr(pruning, "MOST_OPEN", 0.05)
    assert check_semantic(classes, masks, ImageSizes((32, 32), (32, 32), (640, 640)), False)
    check_panoptic(classes, masks, ImageSizes((32, 32), (32, 32), (640, 640)))


def test_a_result_as_small_as_the_mask_logits_is_computed_in_the_plain_way():
    rule = semantic._BestClass(np.ones((12, 9), np.float32), False)
    sizes = ImageSizes((48, 56), (48, 56), (12, 14))
    assert pruning.pruned_map(blobs(0)[1], sizes, rule, np.dtype(np.int32)) is None


def test_one_cell_and_one_pixel():
    class_logits, mask_logits = blobs(0, size=(1, 1))
    for target in [(1, 1), (7, 9), (1, 40)]:
        for content in [(1, 1), (4, 3)]:
            sizes = ImageSizes((4, 4), content, target)
            check_semantic(class_logits, mask_logits, sizes, resize_scores=True)
            check_semantic(class_logits, mask_logits, sizes, resize_scores=False)
            check_panoptic(class_logits, mask_logits, sizes)

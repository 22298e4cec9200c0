"""Test-time augmentation: several sizes and mirror images, against the rules of the original project in plain NumPy."""

from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, small_model
from labeled import NAMES, SEMANTIC, write_label_maps
from PIL import Image

from lucid_mlx import ImageConfig, InputError, Segmenter
from lucid_mlx.data import label_map_dataset
from lucid_mlx.evaluation import evaluate
from lucid_mlx.evaluation.multi_scale import augmented
from lucid_mlx.postprocessing.semantic import averaged_map
from lucid_mlx.preprocessing import read_image

TIE = 1e-5
CONFIGS = {
    "shortest edge": ImageConfig(size=None, shortest_edge=64, longest_edge=256, divisor_mode="pad"),
    "limited": ImageConfig(size=None, shortest_edge=64, longest_edge=80, divisor_mode="pad"),
    "square": ImageConfig(size=(64, 64)),
    "own size": ImageConfig(size=None, size_divisor=32, divisor_mode="pad"),
}


@pytest.fixture(scope="module")
def model():
    model = small_model(num_labels=3)
    model.config.id2label = dict(enumerate(NAMES))
    return model


def network(pixels):
    """The logits of made-up queries that see colors, each from another place: pixels (B, H, W, 3)."""
    rng = np.random.default_rng(0)
    batch, height, width, _ = pixels.shape
    low = np.array(pixels).reshape(batch, height // 4, 4, width // 4, 4, 3).mean(axis=(2, 4))
    low = np.stack([np.roll(low @ rng.standard_normal(3), place, axis=2) for place in range(6)], axis=1)
    classes = np.broadcast_to(3 * rng.standard_normal((6, 4)), (batch, 6, 4))
    return {
        "class_queries_logits": mx.array(classes, mx.float32),
        "masks_queries_logits": mx.array(3 * low, mx.float32),
    }


@pytest.fixture
def segmenter(model, monkeypatch):
    segmenter = Segmenter(model, "semantic", size="64")
    monkeypatch.setattr(
        segmenter.inference,
        "start",
        lambda pixels: SimpleNamespace(logits=lambda: network(pixels), cancel=lambda: None),
    )
    return segmenter


@pytest.fixture(scope="module")
def photo():
    return np.asarray(Image.fromarray(read_image(PHOTO)).resize((90, 61)))


def resized(image, size):
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def linear(maps, size):
    """Resize (N, h, w) as torch's bilinear `interpolate` without `align_corners` does."""
    for axis, length in enumerate(size, 1):
        place = np.clip((np.arange(length) + 0.5) * maps.shape[axis] / length - 0.5, 0, maps.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, maps.shape[axis] - 1)
        weight = (place - low).reshape([-1 if number == axis else 1 for number in range(3)])
        maps = maps.take(low, axis) * (1 - weight) + maps.take(high, axis) * weight
    return maps


def plain_scores(photo, config, sizes, resize_scores):
    """The mean scores (K, H, W): each of the sizes, resized from what the network sees, and its mirror image."""
    seen = resized(photo, config.content_size(*photo.shape[:2]))
    total = 0.0
    for height, width in sizes:
        for step in (1, -1):
            view = resized(seen, (height, width))[:, ::step]
            padded = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), np.float32)
            padded[:height, :width] = (view / 255 - np.array(config.mean)) / np.array(config.std)
            out = network(padded[None])
            logits, masks = (np.array(out[f"{name}_queries_logits"][0], np.float64) for name in ("class", "masks"))
            classes = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            masks = linear(masks, padded.shape[:2])[:, :height, :width]
            if not resize_scores:
                masks = linear(masks, photo.shape[:2])
            scores = np.einsum("qc,qhw->chw", classes[:, :-1], 1 / (1 + np.exp(-masks)))
            total = total + (linear(scores, photo.shape[:2]) if resize_scores else scores)[:, :, ::step]
    return total / (2 * len(sizes))


@pytest.mark.parametrize("resize_scores", [False, True])
@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ("shortest edge", [(32, 47), (64, 94), (112, 165)]),
        ("limited", [(32, 47), (64, 95), (95, 140)]),  # seen at 54x80; the limit is 1.75 times 80, for each scale
        ("square", [(32, 32), (64, 64), (128, 128)]),  # sides become multiples of 32
        ("own size", [(30, 45), (61, 90), (107, 158)]),
    ],
)
def test_it_follows_the_rules_of_the_original(segmenter, photo, config, sizes, resize_scores):
    segmenter.image_config, segmenter.resize_scores = CONFIGS[config], resize_scores
    (result,) = augmented(segmenter, [photo], (0.5, 1, 1.75), flip=True)
    scores = plain_scores(photo, CONFIGS[config], sizes, resize_scores)
    found = np.take_along_axis(scores, result.map[None], axis=0)[0]
    assert (found >= scores.max(axis=0) - TIE).all()
    assert len(np.unique(result.map)) > 1


def test_a_photo_that_mirrors_itself_has_a_map_that_does(segmenter, photo, monkeypatch):
    half = np.concatenate([photo, photo[:, ::-1]], axis=1)
    for tiles in ((1 << 20, 64), (1 << 12, 7)):
        monkeypatch.setattr("lucid_mlx.postprocessing.tiles.tile_size", lambda tiles=tiles: tiles)
        (result,) = augmented(segmenter, [half], (1,), flip=True)
        assert (result.map != result.map[:, ::-1]).mean() < 1e-3  # ties


def test_a_batch_of_both_gives_the_same(model, photo):
    segmenter = Segmenter(model, "semantic", size="64")
    alone, together = (list(augmented(segmenter, [photo] * 2, (1, 1.5), True, size)) for size in (1, 4))
    for one, other in zip(alone, together, strict=True):
        assert (one.map != other.map).mean() < 1e-3


def test_evaluation_averages_over_views(model, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "lucid_mlx.evaluation.multi_scale.averaged_map", lambda views, *a: seen.append(views) or averaged_map(views, *a)
    )
    labeled = label_map_dataset(*write_label_maps(tmp_path, 2, SEMANTIC), NAMES)
    segmenter = Segmenter(model, "semantic", size="32")
    plain = evaluate(segmenter, labeled)
    assert evaluate(segmenter, labeled, scales=(1,)) == plain
    assert not seen
    evaluate(segmenter, labeled, scales=(1, 2), flip=True)
    assert [[(view.sizes.input_size[0], view.mirrored) for view in views] for views in seen] == [
        [(32, False), (32, True), (64, False), (64, True)]
    ] * 2


@pytest.mark.parametrize("scales", [(), (0,), (1, 1), (float("nan"),), ("1",), (True,), (100,), 1])
def test_other_scales_are_refused(model, tmp_path, scales):
    labeled = label_map_dataset(*write_label_maps(tmp_path), NAMES)
    with pytest.raises(InputError, match="scales must be 1 to 32 different factors from 0.1 to 4"):
        evaluate(Segmenter(model, "semantic", size="32"), labeled, scales=scales)


def test_other_tasks_have_none(model, tmp_path):
    labeled = label_map_dataset(*write_label_maps(tmp_path), NAMES)
    with pytest.raises(InputError, match="are for semantic segmentation, and this is panoptic segmentation"):
        evaluate(Segmenter(model, "panoptic", size="32"), labeled, flip=True)


def test_an_image_that_is_too_large_at_a_scale_is_refused(model):
    segmenter = Segmenter(model, "semantic", image_config=ImageConfig(size=None))
    with pytest.raises(InputError, match="is resized to"):
        list(augmented(segmenter, [np.zeros((64, 8000, 3), np.uint8)], (1, 4), flip=False))

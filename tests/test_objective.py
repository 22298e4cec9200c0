"""The training objective without torch: matching, losses, and what training may and may not change."""

from itertools import permutations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from helpers import RESNET, SWIN, small_config, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from lucid_mlx import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.backbones.resnet import BatchNorm, FrozenBatchNorm
from lucid_mlx.models.vision.mask2former import matcher
from lucid_mlx.models.vision.mask2former.criterion import compute_losses, mean_number_of_masks
from lucid_mlx.models.vision.mask2former.matcher import assign, matching_cost
from lucid_mlx.models.vision.mask2former.targets import read_targets
from lucid_mlx.ops.self_test import point_sample_by_loops
from lucid_mlx.training import checkpoint_layers, loss_and_gradients
from lucid_mlx.training.gradient_checkpointing import checkpoint

POINTS = {"train_num_points": 64}
KEY = mx.random.key(7)


def scene(counts=(2, 3), size=(32, 48)):
    """An image for each count, and its labels."""
    rng = np.random.default_rng(1)
    masks = [mx.array(rng.random((count, *size)) > 0.5) for count in counts]
    classes = [mx.array(rng.integers(0, 5, count)) for count in counts]
    return mx.array(rng.standard_normal((len(counts), 3, *size), np.float32)), masks, classes


def gradients_by_mlx(model, *scene, key=KEY):
    return nn.value_and_grad(model, lambda model: model(*scene, key=key)["loss"])(model)


def flat(gradients):
    return {name: np.array(value) for name, value in tree_flatten(gradients)}


def assert_equal_gradients(ours, wanted, tolerance=0.0):
    ours, wanted = flat(ours), flat(wanted)
    assert set(ours) == set(wanted)
    for name, value in wanted.items():
        assert np.abs(ours[name] - value).max() <= tolerance * max(np.abs(value).max(), 1e-3), name


@settings(max_examples=60, deadline=None)
@given(
    queries=st.integers(1, 5),
    objects=st.integers(0, 5),
    bad=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([np.nan, np.inf, -np.inf]))),
    seed=st.integers(0, 99),
)
def test_the_assignment_is_the_best_of_all_with_the_fewest_invalid_pairs(queries, objects, bad, seed):
    cost = np.random.default_rng(seed).standard_normal((queries, objects))
    for row, column, value in bad:
        if row < queries and column < objects:
            cost[row, column] = value
    rows, columns = assign(cost)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(set(columns.tolist())) == len(rows) == min(queries, objects)

    def rank(pairs):
        values = np.array([cost[pair] for pair in pairs])
        finite = np.isfinite(values)
        return (~finite).sum(), values[finite].sum()

    fewer, more = sorted((queries, objects))
    candidates = [list(enumerate(chosen)) for chosen in permutations(range(more), fewer)]
    if queries > objects:
        candidates = [[(b, a) for a, b in pairs] for pairs in candidates]
    invalid, total = rank(list(zip(rows.tolist(), columns.tolist(), strict=True)))
    best = min(map(rank, candidates))
    assert invalid == best[0]
    assert total == pytest.approx(best[1])


def test_an_object_without_any_valid_cost_leaves_the_others_their_best_query():
    # With the largest float in place of NaN the costs beside it vanish by rounding.
    rows, columns = assign(np.array([[np.nan, 0.7], [np.nan, -0.4]], np.float32))
    assert rows[columns == 1] == [1]


def test_the_cost_is_the_weighted_sum_of_its_three_parts():
    rng = np.random.default_rng(0)
    logits, classes = 3 * rng.standard_normal((4, 6, 5), np.float32), rng.standard_normal((4, 6), np.float32)
    masks, labels, points = rng.random((3, 9, 8)) > 0.5, np.array([4, 0, 0]), rng.random((50, 2), np.float32)
    config = small_config(class_weight=2.0, mask_weight=3.0, dice_weight=4.0)
    got = matching_cost(mx.array(logits), mx.array(classes), mx.array(masks), labels, mx.array(points), config)

    x, y = (point_sample_by_loops(planes[None], points[None])[0] for planes in (logits, masks))
    p, softmax = 1 / (1 + np.exp(-x)), np.exp(classes) / np.exp(classes).sum(axis=1, keepdims=True)
    for query, item in np.ndindex(4, 3):
        a, b = p[query], y[item]
        cross_entropy = -(b * np.log(a) + (1 - b) * np.log(1 - a)).mean()
        dice = 1 - (2 * (a * b).sum() + 1) / (a.sum() + b.sum() + 1)
        wanted = -2 * softmax[query, labels[item]] + 3 * cross_entropy + 4 * dice
        assert got[query, item].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("class_weights", [None, [3.0, 0.5, 1.0, 0.0, 7.0]])
def test_the_losses_are_their_definitions(class_weights):
    rng = np.random.default_rng(0)
    config = small_config(**POINTS)
    masks, classes = 3 * rng.standard_normal((2, 6, 5, 7), np.float32), rng.standard_normal((2, 6, 6), np.float32)
    _, mask_labels, class_labels = scene(size=(9, 11))
    targets = read_targets(mask_labels, class_labels, 2, 5)
    prediction = matcher.Prediction(mx.array(masks), mx.array(classes))
    matches = matcher.match([prediction], targets, config, KEY)
    got = compute_losses([prediction], targets, matches, config, class_weights and mx.array(class_weights))

    rows, objects = np.array(matches[0].rows), np.array(matches[0].objects)
    assert (rows[:2] < 6).all()
    assert (rows[2:] >= 6).all()
    assert sorted(objects[:2]) == [0, 1]
    assert sorted(objects[2:]) == [2, 3, 4]
    labels = np.full(12, 5)
    labels[rows] = np.concatenate([np.array(x) for x in class_labels])[objects]
    logits = classes.reshape(12, 6).astype(np.float64)
    terms = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(12), labels]
    weights = np.array([*(class_weights or np.ones(5)), 0.1])[labels]
    assert got["loss_cross_entropy"].item() == pytest.approx(2 * (terms * weights).sum() / weights.sum(), rel=1e-5)

    draw = matcher.uniform(mx.random.split(KEY)[1])
    candidates, rest = np.array(draw((5, 192, 2))), np.array(draw((5, 16, 2)))
    planes, wanted = masks.reshape(12, 1, 5, 7)[rows], np.concatenate([np.array(x) for x in mask_labels])[objects]
    nearest = np.argsort(np.abs(point_sample_by_loops(planes, candidates)[:, 0]), axis=1)[:, :48]
    points = np.concatenate([np.take_along_axis(candidates, nearest[..., None], axis=1), rest], axis=1)
    x, y = (point_sample_by_loops(part, points)[:, 0] for part in (planes, wanted[:, None]))
    p = 1 / (1 + np.exp(-x))
    cross_entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(axis=1)
    dice = 1 - (2 * (p * y).sum(axis=1) + 1) / (p.sum(axis=1) + y.sum(axis=1) + 1)
    assert got["loss_mask"].item() == pytest.approx(5 * cross_entropy.sum() / 5, rel=1e-5)
    assert got["loss_dice"].item() == pytest.approx(5 * dice.sum() / 5, rel=1e-5)


def test_weights_of_classes_change_their_losses_and_gradients():
    model, batch = small_model(**POINTS), scene()
    plain, gradients = loss_and_gradients(model, *batch, key=KEY)
    same, same_gradients = loss_and_gradients(model, *batch, key=KEY, class_weights=mx.ones(5))
    assert {name: loss.item() for name, loss in same.items()} == {name: loss.item() for name, loss in plain.items()}
    assert_equal_gradients(same_gradients, gradients)
    heavy, _ = loss_and_gradients(model, *batch, key=KEY, class_weights=mx.array([9.0, 1, 1, 1, 1]))
    assert {name for name in plain if heavy[name].item() != plain[name].item()} == {
        name for name in plain if "cross_entropy" in name
    }
    model.config.no_object_weight = 0.0
    nothing, gradients = loss_and_gradients(model, *batch, key=KEY, class_weights=mx.zeros(5))
    assert nothing["loss_cross_entropy"].item() == 0
    assert all(np.isfinite(value).all() for value in flat(gradients).values())


def test_every_prediction_is_supervised_and_the_loss_is_the_sum():
    model, (pixels, *labels) = small_model(**POINTS), scene()
    out = model(pixels, *labels, key=KEY)
    losses = model.get_loss_dict(
        out["masks_queries_logits"], out["class_queries_logits"], *labels, out["auxiliary_logits"], key=KEY
    )
    names = ("loss_cross_entropy", "loss_mask", "loss_dice")
    assert set(losses) == {name + suffix for name in names for suffix in ("", "_0", "_1", "_2")}
    assert out["loss"].item() == pytest.approx(model.get_loss(losses).item(), rel=1e-6)
    assert out["loss"].item() == pytest.approx(sum(loss.item() for loss in losses.values()), rel=1e-6)
    model.config.use_auxiliary_loss = False
    assert set(loss_and_gradients(model, pixels, *labels, key=KEY)[0]) == set(names)
    assert model(pixels, *labels, key=KEY)["loss"].item() < out["loss"].item()


def test_a_key_repeats_a_loss_and_another_changes_it():
    model, batch = small_model(**POINTS), scene()
    first, again, other = (model(*batch, key=mx.random.key(seed))["loss"].item() for seed in (0, 0, 1))
    assert first == again != other
    mx.random.seed(3)
    a = model(*batch)["loss"].item()
    b = model(*batch)["loss"].item()
    mx.random.seed(3)
    assert a == model(*batch)["loss"].item() != b


@pytest.mark.parametrize("counts", [(0, 3), (0, 0), (9, 2)], ids=["none in one", "none", "more than queries"])
def test_any_number_of_objects_has_a_finite_loss_and_gradient(counts):
    model, batch = small_model(**POINTS), scene(counts)
    losses, gradients = loss_and_gradients(model, *batch, key=KEY)
    assert all(np.isfinite(value).all() for value in flat([losses, gradients]).values())
    assert (losses["loss_mask"].item() == 0) == (sum(counts) == 0)
    loss, wanted = gradients_by_mlx(model, *batch)
    assert loss.item() == pytest.approx(sum(x.item() for x in losses.values()), rel=1e-6)
    assert_equal_gradients(gradients, wanted, 1e-5)


def test_nan_logits_give_a_nan_loss_and_end_nothing():
    model, (pixels, *labels) = small_model(**POINTS), scene()
    assert np.isnan(model(pixels * mx.nan, *labels)["loss"].item())


def test_an_error_while_mlx_traces_leaves_the_model_as_it_was(monkeypatch):
    def broken(*args):
        raise KeyboardInterrupt

    model, batch = small_model(backbone_config={**RESNET, "freeze_batch_norm": False}, **POINTS), scene()
    model.train()
    before = flat(model.parameters())
    monkeypatch.setattr("lucid_mlx.training.gradients.compute_losses", broken)
    with pytest.raises(KeyboardInterrupt):
        loss_and_gradients(model, *batch, key=KEY, dtype=mx.bfloat16)
    after = flat(model.parameters())
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_gradients_leave_the_model_as_it_was():
    model, batch = small_model(backbone_config={**RESNET, "freeze_batch_norm": False}, **POINTS), scene()
    model.train()
    before = flat(model.parameters())
    loss_and_gradients(model, *batch, key=KEY, dtype=mx.bfloat16)
    after = flat(model.parameters())
    changed = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert changed == {name for name in before if "running_" in name}
    assert all(value.dtype == np.float32 for value in after.values())
    assert model.training


@pytest.mark.parametrize("backbone", [SWIN, RESNET], ids=["swin", "resnet"])
def test_half_precision_computes_in_it_and_returns_float32(backbone, monkeypatch):
    # Not smaller: on a 1x2 map a group of the norm has two values, and their rounding decides.
    model, batch = small_model(backbone_config=backbone, **POINTS), scene(size=(96, 96))
    seen = []
    original = type(model.pixel_decoder).__call__

    def recording(self, maps):
        seen.extend(x.dtype for x in maps)
        return original(self, maps)

    monkeypatch.setattr(type(model.pixel_decoder), "__call__", recording)
    exact, wanted = loss_and_gradients(model, *batch, key=KEY)
    half, gradients = loss_and_gradients(model, *batch, key=KEY, dtype=mx.float16)
    assert seen == [mx.float32] * 4 + [mx.float16] * 4
    for name, loss in exact.items():
        assert half[name].dtype == mx.float32
        assert half[name].item() == pytest.approx(loss.item(), rel=0.02)
    assert all(value.dtype == np.float32 for value in flat(gradients).values())
    a, b = (np.concatenate([x.ravel() for x in flat(tree).values()]) for tree in (wanted, gradients))
    assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b)


@pytest.mark.parametrize("backbone", [SWIN, RESNET], ids=["swin", "resnet"])
def test_checkpointing_gives_the_same_gradients_in_less_memory(backbone):
    model, batch = small_model(backbone_config=backbone, **POINTS), scene(size=(96, 96))

    def measured():
        mx.eval(model.parameters(), batch)
        mx.reset_peak_memory()
        start = mx.get_active_memory()
        previous = mx.set_memory_limit(1)  # one operation at a time, so that the peak is always the same
        try:
            _, gradients = loss_and_gradients(model, *batch, key=KEY)
            mx.eval(gradients)
        finally:
            mx.set_memory_limit(previous)
        return gradients, mx.get_peak_memory() - start

    wanted, more = measured()
    checkpoint_layers(model)
    checkpoint_layers(model)  # twice is once
    gradients, less = measured()
    assert_equal_gradients(gradients, wanted, 1e-4)
    if backbone is SWIN:  # the ResNet's stages have one small block each
        assert less < 0.9 * more


def test_a_checkpointed_layer_drops_the_same_in_both_runs_and_draws_anew_for_the_next():
    class Drop(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = mx.ones(1000)
            self.dropout = nn.Dropout(0.5)

        def __call__(self, x):
            return self.dropout(x * self.weight)

    layer = Drop()
    checkpoint([layer])
    kept = []

    def loss(x):
        kept.extend(layer(x) for _ in range(2))
        return (kept[0] + kept[1]).sum()

    gradient = mx.grad(loss)(mx.ones(1000))
    assert not mx.array_equal(*kept)
    assert mx.array_equal(gradient, kept[0] + kept[1])
    assert isinstance(layer, Drop)


def test_blocks_whose_batch_norms_train_are_not_run_twice():
    model = small_model(backbone_config={**RESNET, "freeze_batch_norm": False})
    checkpoint_layers(model)
    names = {type(x).__name__ for x in model.modules() if hasattr(x, "is_checkpointed")}
    assert names == {"EncoderLayer", "DecoderLayer"}


@pytest.mark.parametrize("kind", [BatchNorm, FrozenBatchNorm])
def test_running_statistics_are_never_trainable(kind):
    parent = nn.Sequential(kind(4))
    trainable = {"bias", "weight"} if kind is BatchNorm else set()

    def names():
        return {name.rsplit(".", 1)[-1] for name, _ in tree_flatten(parent.trainable_parameters())}

    assert names() == trainable
    parent.freeze()
    assert names() == set()
    parent.unfreeze()
    assert names() == trainable
    parent.unfreeze(keys=["running_mean"])
    assert names() == trainable


def test_the_number_of_masks_is_averaged_over_processes(monkeypatch):
    class Group:
        def size(self):
            return 2

    targets = read_targets([mx.zeros((3, 4, 4))], [mx.array([0, 1, 2])], 1, 5)
    assert mean_number_of_masks(targets) == 3
    monkeypatch.setattr(mx.distributed, "init", Group)
    monkeypatch.setattr(mx.distributed, "all_sum", lambda x, group: x + 4)
    assert mean_number_of_masks(targets).item() == 3.5
    monkeypatch.setattr(mx.distributed, "all_sum", lambda x, group: 0 * x)
    assert mean_number_of_masks(targets).item() == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks, classes: (masks[:1], classes), "one entry for each of the 2 images; they have 1 and 2"),
        (lambda masks, classes: (masks, classes[::-1]), "image 0 of the batch has masks of the shape (2, 32, 48)"),
        (lambda masks, classes: ([masks[0], masks[1][:, 1:]], classes), "image 1 of the batch has masks of the shape"),
        (lambda masks, classes: ([masks[0][0], masks[1]], classes), "expected (N, height, width)"),
        (lambda masks, classes: (masks, [classes[0], classes[1] + 5]), "whole numbers from 0 to 4; image 1 has"),
        (lambda masks, classes: (masks, [classes[0] - 9, classes[1]]), "whole numbers from 0 to 4; image 0 has"),
        (lambda masks, classes: (masks, [classes[0] + 0.5, classes[1]]), "(float32)"),
        (lambda masks, classes: (masks, None), "go together"),
    ],
)
def test_labels_that_do_not_fit_are_refused(change, message):
    pixels, masks, classes = scene()
    model = Mask2Former(small_config())
    with pytest.raises(InputError) as error:
        model(pixels, *change(masks, classes))
    assert message in str(error.value)


def test_objects_of_a_match_are_counted_through_the_batch_though_some_have_none():
    config = small_config(num_labels=4, num_queries=3)
    mask_labels = [mx.arange(7)[:, None, None] == mx.zeros((7, 4, 4)) + k for k in range(2)]
    targets = read_targets(mask_labels, [mx.arange(7) % 4, (mx.arange(7) + 1) % 4], 2, 4)
    prediction = matcher.Prediction(mx.random.normal((2, 3, 4, 4)), mx.random.normal((2, 3, 5)))
    (match,) = matcher.match([prediction], targets, config, None)
    rows, objects = np.array(match.rows), np.array(match.objects)
    assert (objects // 7 == rows // 3).all()  # a query answers for an object of its own image


def test_only_masks_with_a_match_are_gathered():
    masks = [mx.random.uniform(shape=(count, 3, 4)) < 0.5 for count in (4, 0, 3)]
    everything = np.concatenate([np.array(x) for x in masks])
    for objects in ([1, 3, 5], [0, 1, 2, 3, 4, 5, 6], [6], []):
        assert np.array_equal(matcher._select(masks, np.array(objects, int)), everything[objects])

"""The training objective and every parameter's gradient, against transformers on the same weights, photo and points."""

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten
from reference import STAGES, build, photo_batch, small_config
from ties import Ties
from transformers import Mask2FormerForUniversalSegmentation, ResNetConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

import lucid_mlx
from lucid_mlx.convert import convert
from lucid_mlx.models.vision.mask2former import Mask2FormerConfig, matcher
from lucid_mlx.models.vision.mask2former.criterion import compute_losses
from lucid_mlx.models.vision.mask2former.targets import read_targets
from lucid_mlx.utils.parameters import named_parameters

Labels = tuple[list[np.ndarray], list[np.ndarray]]


class SamePoints:
    """Draws points for us and gives the same to the reference, which asks for the same shapes in the same order."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.drawn: dict[tuple[int, ...], deque[np.ndarray]] = defaultdict(deque)

    def draw(self, shape: tuple[int, ...]) -> mx.array:
        points = self.rng.random(shape, np.float32)
        self.drawn[shape].append(points)
        return mx.array(points)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        def rand(*shape: int, **_: Any) -> torch.Tensor:
            return torch.from_numpy(self.drawn[shape].popleft()) if all(shape) else torch.empty(shape)

        with patch.object(torch, "rand", rand):
            yield
        assert not any(self.drawn.values()), "the reference drew fewer points"


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> SamePoints:
    points = SamePoints()
    monkeypatch.setattr(matcher, "uniform", lambda key: points.draw)
    return points


def blobs(counts: list[int], size: tuple[int, int], num_labels: int) -> Labels:
    """Ellipses as masks, and random classes."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    masks, classes = [], []
    for count in counts:
        y, x, radius = rng.random((3, count, 1, 1))
        masks.append(((rows - y) ** 2 + (columns - x) ** 2 < (0.1 + 0.4 * radius) ** 2).astype(np.uint8))
        classes.append(rng.integers(0, num_labels, count))
    return masks, classes


def to_torch(labels: Labels) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    masks, classes = labels
    return [torch.from_numpy(x).float() for x in masks], [torch.from_numpy(x) for x in classes]


COUNTS = {
    "different numbers of objects": [3, 7],
    "an image without objects": [0, 4],
    "no objects at all": [0, 0],
    "more objects than queries": [19, 2],
    "one image": [5],
}


WEIGHTS = {"cross_entropy": 2.0, "mask": 5.0, "dice": 5.0}


@pytest.mark.parametrize("class_weights", [None, [3.0, 0.5, 1.0, 0.0, 7.0, 0.2]], ids=["plain", "class weights"])
@pytest.mark.parametrize("settings", [{}, {"importance_sample_ratio": 1.0, "oversample_ratio": 1.5}], ids=str)
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_losses_and_pairs_equal_the_reference(
    counts: list[int],
    settings: dict[str, float],
    class_weights: list[float] | None,
    points: SamePoints,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Mask2FormerConfig(6, num_queries=11, **settings)
    theirs = small_config(num_labels=6, num_queries=11, **settings)
    reference = Mask2FormerLoss(theirs, {})
    if class_weights is not None:
        reference.empty_weight[:-1] = torch.tensor(class_weights)
    rng = np.random.default_rng(1)
    masks = 5 * rng.standard_normal((3, len(counts), 11, 24, 32), np.float32)
    classes = 3 * rng.standard_normal((3, len(counts), 11, 7), np.float32)
    labels = blobs(counts, (90, 125), 6)

    ours_pairs, their_pairs = [], []
    assign, match = matcher.assign, reference.matcher.forward
    monkeypatch.setattr(matcher, "assign", lambda cost: ours_pairs.append(assign(cost)) or ours_pairs[-1])

    def recording(*args: Any) -> Any:
        their_pairs.extend(pairs := match(*args))
        return pairs

    monkeypatch.setattr(reference.matcher, "forward", recording)
    targets = read_targets([*map(mx.array, labels[0])], [*map(mx.array, labels[1])], len(counts), 6)
    predictions = [matcher.Prediction(*pair) for pair in zip(mx.array(masks), mx.array(classes), strict=True)]
    matches = matcher.match(predictions, targets, config, None)
    ours = compute_losses(predictions, targets, matches, config, class_weights and mx.array(class_weights))
    mx.eval(ours)
    last, *earlier = zip(torch.from_numpy(masks), torch.from_numpy(classes), strict=True)
    auxiliary = [{"masks_queries_logits": a, "class_queries_logits": b} for a, b in earlier]
    with points.replayed():
        wanted = reference(*last, *to_torch(labels), auxiliary)

    assert set(ours) == set(wanted)
    for name, loss in wanted.items():
        weight = next(value for part, value in WEIGHTS.items() if part in name)
        np.testing.assert_allclose(ours[name].item(), weight * loss.item(), rtol=1e-5, err_msg=name)
    assert len(ours_pairs) == len(their_pairs) == 3 * len(counts)
    for (queries, objects), pairs in zip(ours_pairs, their_pairs, strict=True):
        assert queries.tolist() == pairs[0].tolist()
        assert objects.tolist() == pairs[1].tolist()


def test_points_fewer_than_half_of_the_candidates_are_the_reference_s(points: SamePoints) -> None:
    config, theirs = Mask2FormerConfig(6, train_num_points=400), small_config(train_num_points=400)
    reference = Mask2FormerLoss(theirs, {})
    logits = np.random.default_rng(1).standard_normal((5, 1, 24, 32)).astype(np.float32)
    ours = np.array(matcher.uncertain_points(mx.array(logits)[:, 0], config, points.draw))
    with points.replayed():
        wanted = reference.sample_points_using_uncertainty(
            torch.from_numpy(logits), reference.calculate_uncertainty, 400, 3.0, 0.75
        ).numpy()
    for mine, their in zip(ours, wanted, strict=True):
        assert {*map(tuple, mine[:300])} == {*map(tuple, their[:300])}
        assert (mine[300:] == their[300:]).all()


RESNET = ResNetConfig(
    embedding_size=16, hidden_sizes=[32, 48, 64, 80], depths=[1, 2, 1, 1], layer_type="bottleneck", out_features=STAGES
)


Networks = tuple[Mask2FormerForUniversalSegmentation, lucid_mlx.models.Mask2Former]


def networks(backbone: ResNetConfig | None, folder: Path) -> Networks:
    config = small_config(backbone_config=backbone, train_num_points=3000)
    reference = build(config, folder / "theirs")
    return reference, lucid_mlx.load(convert(folder / "theirs", folder / "ours"))


def backward(
    reference: torch.nn.Module, model: lucid_mlx.models.Mask2Former, counts: list[int], points: SamePoints
) -> dict[str, mx.array]:
    """Check the loss, leave the reference's gradients in it and return ours by name."""
    size = (90, 122)
    pixels, labels = photo_batch(*size), blobs(counts, size, model.config.num_labels)
    batch = mx.array(pixels), *([mx.array(x) for x in part] for part in labels)
    loss, gradients = nn.value_and_grad(model, lambda model: model(*batch)["loss"])(model)
    mx.eval(loss, gradients)
    masks, classes = to_torch(labels)
    with points.replayed():
        theirs = reference(torch.from_numpy(pixels), mask_labels=masks, class_labels=classes)
    theirs.loss.backward()
    np.testing.assert_allclose(loss.item(), theirs.loss.item(), rtol=1e-5)
    ours = dict(tree_flatten(gradients))
    assert set(ours) == set(dict(tree_flatten(model.trainable_parameters())))
    return ours


@pytest.mark.parametrize("backbone", [None, RESNET], ids=["swin", "resnet"])
@pytest.mark.parametrize("counts", [[3, 6], [0, 14]], ids=str)
def test_the_gradient_of_every_parameter_equals_the_reference_s(
    backbone: ResNetConfig | None, counts: list[int], tmp_path: Path, points: SamePoints, ties: Ties
) -> None:
    reference, model = networks(backbone, tmp_path)
    ours = backward(reference, model, counts, points)
    compare_gradients(ours, converted_gradients(reference, tmp_path))


def test_batch_norms_that_train_have_the_reference_s_gradients_and_statistics(
    tmp_path: Path, points: SamePoints, ties: Ties
) -> None:
    reference, frozen = networks(RESNET, tmp_path)
    config = replace(
        frozen.config, backbone_config={**(frozen.config.backbone_config or {}), "freeze_batch_norm": False}
    )
    model = lucid_mlx.models.Mask2Former(config).from_pretrained(tmp_path / "ours")
    model.train()
    model.unfreeze()
    ours = backward(reference.train(), model, [3, 6], points)
    wanted = converted_gradients(reference, tmp_path)
    compare_gradients(ours, wanted)
    assert "backbone.stem.0.norm.weight" in ours
    for name, value in named_parameters(model).items():
        if "running_" in name:  # no gradients there, but what the step left
            np.testing.assert_allclose(np.array(value), wanted[name], rtol=1e-4, atol=1e-5, err_msg=name)


def converted_gradients(reference: Mask2FormerForUniversalSegmentation, folder: Path) -> dict[str, np.ndarray]:
    """The reference's gradients under our names, by way of a checkpoint that holds them in place of the weights."""
    for parameter in reference.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    reference.save_pretrained(folder / "their gradients")
    model = lucid_mlx.load(convert(folder / "their gradients", folder / "gradients"))
    return {name: np.array(value) for name, value in named_parameters(model).items()}


def compare_gradients(ours: dict[str, mx.array], wanted: dict[str, np.ndarray]) -> None:
    for name, gradient in ours.items():
        got, want = np.array(gradient), wanted[name]
        if name.endswith("key_projection.bias"):
            # Zero in theory: softmax ignores what all scores share.
            zero = 1e-5 * np.abs(wanted[name.replace("bias", "weight")]).max()
            assert max(np.abs(got).max(), np.abs(want).max()) < zero, name
            continue
        assert np.abs(want).max() > 0, name
        assert np.linalg.norm(got - want) <= 1e-3 * np.linalg.norm(want), name
        assert np.abs(got - want).max() <= 1e-3 * np.abs(want).max(), name

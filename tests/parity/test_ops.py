"""The ops against torch, in float64 on its side, values and gradients."""

import mlx.core as mx
import numpy as np
import pytest
import torch
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerSinePositionEmbedding,
    multi_scale_deformable_attention,
)

from lucid_mlx import ops

LEVELS = {
    "powers of two": [(4, 8), (8, 16), (16, 32)],
    "odd and unequal": [(5, 3), (9, 7), (2, 11)],
    "single rows, columns and cells": [(1, 1), (1, 7), (5, 1)],
    "one level": [(3, 4)],
}


def relative(ours: mx.array, theirs: torch.Tensor) -> float:
    got, wanted = np.array(ours), theirs.detach().numpy()
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def sampling(where: str, batch: int, queries: int, heads: int, levels: list[tuple[int, int]]) -> np.ndarray:
    rng = np.random.default_rng(7)
    shape = (batch, queries, heads, len(levels), 4, 2)
    if where == "inside":
        return rng.uniform(0.2, 0.8, shape)
    if where == "around the border":
        return rng.choice([-0.02, 0.0, 0.01, 0.99, 1.0, 1.02], shape) + rng.uniform(-0.004, 0.004, shape)
    if where == "far outside":
        return rng.choice([-1e4, -3.0, 0.5, 4.0, 1e4], shape) + rng.uniform(-0.1, 0.1, shape)
    # Exactly on cell centers, where a fresh network samples and the gradient has a kink.
    sizes = np.array([[width, height] for height, width in levels])[:, None]
    return (rng.integers(-2, sizes + 2, shape) + 0.5) / sizes


@pytest.mark.parametrize("where", ["inside", "around the border", "far outside"])
@pytest.mark.parametrize("name", LEVELS)
def test_deformable_attention_and_its_gradients(name: str, where: str) -> None:
    check_deformable_attention(LEVELS[name], where, batch=2)


def test_deformable_attention_gradients_at_cell_centers() -> None:
    # Sizes at which a center is exact in floating point; elsewhere both sides of the kink are right.
    check_deformable_attention(LEVELS["powers of two"], "centers", batch=2)


def check_deformable_attention(levels: list[tuple[int, int]], where: str, batch: int) -> None:
    rng = np.random.default_rng(3)
    queries, heads, dim = 33, 4, 8
    cells = sum(height * width for height, width in levels)
    value = rng.standard_normal((batch, cells, heads, dim)).astype(np.float32)
    locations = sampling(where, batch, queries, heads, levels).astype(np.float32)
    weights = rng.random((batch, queries, heads, len(levels), 4)).astype(np.float32)
    cotangent = rng.standard_normal((batch, queries, heads * dim)).astype(np.float32)

    theirs = [torch.from_numpy(x.astype(np.float64)).requires_grad_() for x in (value, locations, weights)]
    wanted = multi_scale_deformable_attention(theirs[0], levels, theirs[1], theirs[2])
    (wanted * torch.from_numpy(cotangent)).sum().backward()

    def attend(value: mx.array, locations: mx.array, weights: mx.array) -> mx.array:
        return ops.multi_scale_deformable_attention(value, levels, locations, weights)

    arrays = [mx.array(x) for x in (value, locations, weights)]
    outputs, gradients = mx.vjp(attend, arrays, [mx.array(cotangent)])
    for ours in (attend(*arrays), outputs[0]):
        assert relative(ours, wanted) < 2e-6
    for ours, tensor in zip(gradients, theirs, strict=True):
        assert relative(ours, tensor.grad) < 5e-6


def test_deformable_attention_of_many_queries_goes_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from lucid_mlx.backends.cpu import deformable_gather, deformable_sparse

    monkeypatch.setattr(deformable_sparse, "_ROWS", 7)
    monkeypatch.setattr(deformable_gather, "_CHUNK_BYTES", 40000)
    check_deformable_attention(LEVELS["odd and unequal"], "inside", batch=2)


@pytest.mark.parametrize("where", ["inside", "around the border", "far outside"])
@pytest.mark.parametrize("size", [(8, 16), (9, 7), (1, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("channels", [1, 6])
def test_point_sampling_and_its_gradient(channels: int, size: tuple[int, int], where: str) -> None:
    rng = np.random.default_rng(3)
    planes = rng.standard_normal((2, channels, *size)).astype(np.float32)
    points = sampling(where, 2, 50, 1, [size])[:, :, 0, 0].reshape(2, -1, 2).astype(np.float32)
    cotangent = rng.standard_normal((2, channels, points.shape[1])).astype(np.float32)
    theirs = torch.from_numpy(planes.astype(np.float64)).requires_grad_()
    grid = torch.from_numpy(2 * points.astype(np.float64)[:, :, None] - 1)
    wanted = torch.nn.functional.grid_sample(theirs, grid, align_corners=False)[..., 0]
    (wanted * torch.from_numpy(cotangent)).sum().backward()
    outputs, gradients = mx.vjp(
        lambda planes: ops.point_sample(planes, mx.array(points)), [mx.array(planes)], [mx.array(cotangent)]
    )
    assert np.abs(np.array(outputs[0]) - wanted.detach().numpy()).max() < 1e-6 * np.abs(planes).max()
    assert relative(gradients[0], theirs.grad) < 5e-6


@pytest.mark.parametrize(
    ("size", "target"), [((7, 5), (14, 10)), ((9, 4), (3, 11)), ((1, 1), (4, 6)), ((8, 8), (8, 8))]
)
def test_resizing(size: tuple[int, int], target: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x).double(), size=target, mode="bilinear", align_corners=False
    )
    assert relative(ops.resize_planes(mx.array(x), target), wanted) < 1e-6
    channels_last = ops.resize_map(mx.array(x.transpose(0, 2, 3, 1)), target)
    assert relative(channels_last.transpose(0, 3, 1, 2), wanted) < 1e-6


def test_group_norm_of_a_large_map() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1, 256, 128, 128)) + 0.5).astype(np.float32)
    weight, bias = rng.standard_normal((2, 256)).astype(np.float32)
    wanted = torch.nn.functional.group_norm(
        torch.from_numpy(x).double(), 32, torch.from_numpy(weight).double(), torch.from_numpy(bias).double()
    )
    ours = ops.group_norm(mx.array(x.transpose(0, 2, 3, 1)), mx.array(weight), mx.array(bias), 32)
    assert relative(ours.transpose(0, 3, 1, 2), wanted) < 2e-6


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (32, 20)], ids=str)
def test_sine_positions(size: tuple[int, int]) -> None:
    wanted = Mask2FormerSinePositionEmbedding(num_position_features=16, normalize=True)(
        (1, 1, *size), torch.device("cpu"), torch.float64
    )
    ours = ops.sine_positions(*size, 32)
    assert relative(ours, wanted[0].flatten(1).T) < 1e-6

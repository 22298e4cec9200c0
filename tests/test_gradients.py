"""The ops' gradients against finite differences of their definitions in float64."""

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import ndtr

from lucid_mlx import ops
from lucid_mlx.ops.self_test import deformable_attention_by_loops, point_sample_by_loops

STEP = 1e-5


def check_gradients(op, definition, *arrays):
    """Compare the derivative along a random direction of each argument in turn."""
    rng = np.random.default_rng(4)
    cotangent = rng.standard_normal(definition(*arrays).shape)
    _, gradients = mx.vjp(
        op, [mx.array(x.astype(np.float32)) for x in arrays], [mx.array(cotangent.astype(np.float32))]
    )
    for place, gradient in enumerate(gradients):
        direction = rng.standard_normal(arrays[place].shape)
        ahead, behind = (
            definition(*arrays[:place], arrays[place] + sign * STEP * direction, *arrays[place + 1 :])
            for sign in (1, -1)
        )
        wanted = ((ahead - behind) / (2 * STEP) * cotangent).sum()
        scale = np.linalg.norm(np.array(gradient))
        assert abs((np.array(gradient, np.float64) * direction).sum() - wanted) < 2e-4 * scale, place


def inside_cells(rng, shape, sizes):
    """Locations that stay in their cell when they move a little: there the gradient is smooth."""
    sizes = np.broadcast_to(np.array(sizes), shape)
    return (rng.integers(-2, sizes + 1) + rng.uniform(0.1, 0.9, shape) + 0.5) / sizes


def test_deformable_attention():
    rng = np.random.default_rng(0)
    levels = [(4, 5), (2, 3)]
    value, weights = rng.standard_normal((2, 26, 2, 3)), rng.random((2, 5, 2, 2, 2))
    locations = inside_cells(rng, (2, 5, 2, 2, 2, 2), [[[5, 4]], [[3, 2]]])
    check_gradients(
        lambda value, locations, weights: ops.multi_scale_deformable_attention(value, levels, locations, weights),
        lambda value, locations, weights: deformable_attention_by_loops(value, levels, locations, weights),
        value,
        locations,
        weights,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_point_sample(channels):
    rng = np.random.default_rng(0)
    planes, points = rng.standard_normal((2, channels, 4, 6)), rng.uniform(-0.2, 1.2, (2, 30, 2)).astype(np.float32)
    check_gradients(
        lambda planes: ops.point_sample(planes, mx.array(points)),
        lambda planes: point_sample_by_loops(planes, points),
        planes,
    )


@pytest.mark.parametrize(
    ("op", "definition"),
    [
        (ops.gelu, lambda x: x * ndtr(x)),
        (ops.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
        (ops.softmax, lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)),
        (
            lambda x: mx.stack(ops.softplus_and_sigmoid(x)),
            lambda x: np.stack([np.logaddexp(x, 0), 1 / (1 + np.exp(-x))]),
        ),
    ],
)
def test_functions_of_one_array(op, definition):
    check_gradients(op, definition, 2 * np.random.default_rng(0).standard_normal((5, 48)))


def test_group_norm():
    def definition(x, weight, bias):
        groups = x.reshape(2, 12, 4, 2)
        centered = groups - groups.mean(axis=(1, 3), keepdims=True)
        deviation = np.sqrt(groups.var(axis=(1, 3), keepdims=True) + 1e-5)
        return (centered / deviation).reshape(x.shape) * weight + bias

    rng = np.random.default_rng(0)
    check_gradients(
        lambda x, weight, bias: ops.group_norm(x, weight, bias, 4),
        definition,
        rng.standard_normal((2, 3, 4, 8)),
        rng.standard_normal(8),
        rng.standard_normal(8),
    )


@pytest.mark.parametrize("resize", [ops.resize_map, ops.resize_planes])
@pytest.mark.parametrize("size", [(9, 4), (3, 3)])
def test_resizing_is_linear_and_its_gradient_the_transpose(resize, size):
    rng = np.random.default_rng(0)
    x, along = (mx.array(rng.standard_normal((2, 5, 7, 5), np.float32)) for _ in range(2))
    y = resize(x, size)
    cotangent = mx.array(rng.standard_normal(y.shape, np.float32))
    _, (gradient,) = mx.vjp(lambda x: resize(x, size), [x], [cotangent])
    assert (gradient * along).sum().item() == pytest.approx((resize(along, size) * cotangent).sum().item(), rel=1e-4)


def test_softplus_keeps_its_digits_and_passes_nan_on():
    x = np.concatenate([np.linspace(-87, 87, 50_001), [0.0, 1e30]]).astype(np.float32)
    error = np.abs(np.array(ops.softplus_and_sigmoid(mx.array(x))[0]) / np.logaddexp(x.astype(np.float64), 0) - 1)
    assert error.max() < 5e-6
    assert error[np.abs(x) < 8].max() < 1e-6
    assert all(np.isnan(y.item()) for y in ops.softplus_and_sigmoid(mx.array([mx.nan])))
    assert {y.dtype for y in ops.softplus_and_sigmoid(mx.array([0.0], mx.float16))} == {mx.float16}


def test_a_nan_or_infinite_point_reads_nothing_outside():
    points = mx.array([mx.nan, 0.5, mx.inf, 0.5, -mx.inf, 0.5, 1e30, -1e30]).reshape(1, 4, 2)
    sampled = np.array(ops.point_sample(mx.ones((1, 2, 3, 3)), points))
    assert np.isnan(sampled[:, :, 0]).all()
    assert (sampled[:, :, 1:] == 0).all()


def test_points_can_be_sampled_from_masks_and_from_no_planes():
    points = mx.array([[[0.5, 0.5], [0.25, 0.5]]])
    mask = mx.array([[[[True, False], [True, False]]]])
    assert ops.point_sample(mask, points).tolist() == [[[0.5, 1.0]]]
    assert ops.point_sample(mask.astype(mx.uint8), points).tolist() == [[[0.5, 1.0]]]
    assert ops.point_sample(mx.zeros((1, 0, 2, 2)), points).shape == (1, 0, 2)

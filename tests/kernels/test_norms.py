"""The kernels of normalizations and of pooling, run on the CPU, against float64 and their definitions."""

import inspect

import mlx.core as mx
import numpy as np
import pytest
from host_kernels import MetalOnCPU

from lucid_mlx import ops
from lucid_mlx.backends.gpu import add_layer_norm, group_norm, max_pool
from lucid_mlx.backends.gpu.comparison import TOLERANCES

affine = inspect.unwrap(ops.group_norm_affine)
add_norm = inspect.unwrap(ops.add_layer_norm)
pool = inspect.unwrap(ops.max_pool)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def array(x, dtype=mx.float32):
    return mx.array(x.astype(np.float32)).astype(dtype)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_the_kernels_pass_the_checks_that_a_mac_makes(backend, dtype):
    assert group_norm.CHECK.problem(dtype, affine) is None
    assert add_layer_norm.CHECK.problem(dtype, add_norm) is None
    assert max_pool.CHECK.problem(dtype, pool) is None


@pytest.mark.parametrize("shape", [(1, 1, 2, 4), (2, 6, 8, 8), (1, 9, 1, 12)], ids=str)
def test_pooling_of_any_shape_is_exact(backend, shape):
    x = array(normal(*shape) - 3.0)
    assert mx.array_equal(max_pool._max_pool(x, pool), pool(x)).item()


def test_pooling_passes_a_nan_on(backend):
    x = normal(1, 6, 6, 4)
    x[0, 2, 2, 1] = np.nan
    got, wanted = np.array(max_pool._max_pool(array(x), pool)), np.array(pool(array(normal(1, 6, 6, 4))))
    assert np.isnan(got[0, 1, 1, 1])
    assert np.isnan(got).sum() == 1
    assert np.array_equal(got[~np.isnan(got)], wanted[~np.isnan(got)])


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((1, 1, 1, 8), 2), ((2, 3, 5, 128), 32), ((1, 8, 8, 64), 8), ((1, 13, 5, 64), 2), ((1, 70, 70, 16), 1)],
    ids=["one pixel", "batch", "whole chunks", "more channels than lanes", "more chunks than lanes"],
)
def test_group_norm_of_any_shape(backend, shape, groups):
    x, weight, bias = 3.0 + normal(*shape), normal(shape[-1], seed=1), normal(shape[-1], seed=2)
    scale, shift = group_norm._affine(array(x), array(weight), array(bias), affine, groups, 1e-5)
    batch, *_, channels = shape
    split = x.reshape(batch, -1, groups, channels // groups)
    mean = np.repeat(split.mean((1, 3)), channels // groups, axis=1)
    wanted = weight / np.sqrt(np.repeat(split.var((1, 3)), channels // groups, axis=1) + 1e-5)
    np.testing.assert_allclose(np.array(scale).reshape(batch, -1), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.array(shift).reshape(batch, -1), bias - mean * wanted, rtol=1e-5, atol=2e-5)


def test_statistics_far_from_zero_are_stable(backend):
    x = 1000.0 + normal(1, 20, 20, 32)
    scale, _ = group_norm._affine(array(x), mx.ones(32), mx.zeros(32), affine, 4, 1e-5)
    spread = np.repeat(array(x).astype(mx.float32).reshape(400, 4, 8).tolist(), 1, axis=0).std((0, 2))
    np.testing.assert_allclose(np.array(scale).reshape(4, 8)[:, 0], 1 / np.sqrt(spread**2 + 1e-5), rtol=2e-4)


def test_an_outlier_in_the_pixel_that_others_are_measured_from(backend):
    x = normal(1, 20, 20, 8)
    x[0, 0, 0] = 1e4
    scale, _ = group_norm._affine(array(x), mx.ones(8), mx.zeros(8), affine, 1, 1e-5)
    np.testing.assert_allclose(np.array(scale).reshape(-1)[0], 1 / x.std(), rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_spoils_its_group_alone(backend, value):
    x = normal(1, 9, 9, 16)
    x[0, 4, 4, 3] = value
    scale, shift = group_norm._affine(array(x), mx.ones(16), mx.zeros(16), affine, 2, 1e-5)
    numbers = np.array(scale * array(x) + shift).reshape(-1, 16)
    assert np.isnan(numbers[:, :8]).all()
    assert np.isfinite(numbers[:, 8:]).all()


def test_a_constant_map_has_no_spread(backend):
    scale, shift = group_norm._affine(mx.full((1, 9, 9, 8), 7.0), mx.ones(8), mx.zeros(8), affine, 2, 1e-5)
    np.testing.assert_allclose(np.array(scale), 1e-5**-0.5, rtol=1e-5)
    np.testing.assert_allclose(np.array(7.0 * scale + shift), 0.0, atol=1e-3)


@pytest.mark.parametrize("width", [8, 132, 768])
@pytest.mark.parametrize("keep_sum", [True, False])
def test_layer_norm_of_any_width(backend, width, keep_sum):
    x, y, weight, bias = 5.0 + normal(3, 3, width), normal(3, 3, width, seed=1), normal(width, seed=2), normal(width)
    arrays = [array(each) for each in (x, y, weight, bias)]
    outputs = add_layer_norm._add_layer_norm(*arrays, add_norm, 1e-5, keep_sum)
    total, normalized = outputs if keep_sum else (None, outputs)
    both = x + y
    wanted = (both - both.mean(-1, keepdims=True)) / np.sqrt(both.var(-1, keepdims=True) + 1e-5) * weight + bias
    np.testing.assert_allclose(np.array(normalized), wanted, rtol=1e-4, atol=2e-5)
    if keep_sum:
        np.testing.assert_allclose(np.array(total), both, rtol=1e-6)


def test_parameters_of_another_type(backend):
    x, y = array(normal(2, 3, 32), mx.float16), array(normal(2, 3, 32, seed=1), mx.float16)
    weight, bias = array(normal(32)), array(normal(32, seed=3))
    (normalized,) = add_layer_norm.add_layer_norm(add_norm, x, y, weight, bias, 1e-5, False)
    wanted = add_norm(*(each.astype(mx.float32) for each in (x, y)), weight, bias, 1e-5, False)[0]
    assert normalized.dtype == mx.float16
    assert mx.allclose(normalized.astype(mx.float32), wanted, atol=5e-3).item()


@pytest.mark.parametrize("keep_sum", [True, False])
def test_gradients_are_the_definition_s(backend, keep_sum):
    arrays = [array(normal(2, 3, 32, seed=seed)) for seed in (0, 1)] + [array(normal(32, seed=seed)) for seed in (2, 3)]

    def loss(function):
        return lambda *x: sum(mx.square(each).sum() for each in function(*x))

    ours = mx.grad(loss(lambda *x: add_layer_norm.add_layer_norm(add_norm, *x, 1e-5, keep_sum)), argnums=(0, 1, 2, 3))(
        *arrays
    )
    theirs = mx.grad(loss(lambda *x: add_norm(*x, 1e-5, keep_sum)), argnums=(0, 1, 2, 3))(*arrays)
    for one, other in zip(ours, theirs, strict=True):
        assert mx.allclose(one, other, rtol=1e-4, atol=1e-4).item()


MISTAKES = {
    "the last pixels left out": (group_norm, "PARTIAL", "pixel < count", "pixel < count - 1"),
    "pixels beyond the map": (group_norm, "PARTIAL", "pixels - first < ROWS ? pixels - first : ROWS", "ROWS"),
    "every batch entry reads the first": (group_norm, "PARTIAL", "(batch * pixels + first)", "first"),
    "every group reads the first": (group_norm, "PARTIAL", "* groups + group) * SIZE", "* groups) * SIZE"),
    "squares of the numbers themselves": (group_norm, "AFFINE", "distance * distance * numbers * share", "0.0f"),
    "the last chunk counted as whole": (
        group_norm,
        "AFFINE",
        "pixels[0] - first < ROWS ? pixels[0] - first : ROWS",
        "ROWS",
    ),
    "some lanes forgotten": (group_norm, "AFFINE", "mask > 0", "mask > 1"),
    "the shift of a mean of zero": (group_norm, "AFFINE", "- mean * inverse", "- 0.0f * inverse"),
    "the wrong channel's weight": (group_norm, "AFFINE", "weight[channel]", "weight[channel - group * SIZE]"),
    "half of the lanes": (add_layer_norm, "BODY", "mask = 16", "mask = 8"),
    "rows of the first": (add_layer_norm, "BODY", "lucid_load(y + (row * WIDTH", "lucid_load(y + (0 * WIDTH"),
    "the mean left in": (add_layer_norm, "BODY", "(-mean) * ones", "0.0f * ones"),
    "no sum": (add_layer_norm, "BODY", "if (SUM)", "if (!SUM)"),
    "the last column left out": (max_pool, "BODY", "z <= right", "z < right"),
    "rows above the map": (max_pool, "BODY", "row > 0 ? 2 * row - 1 : 0", "2 * row - 1"),
    "nothing below zero": (max_pool, "BODY", "largest = lucid_load(x", "largest = 0.0f * lucid_load(x"),
    "channels beyond the row": (add_layer_norm, "BODY", "if (channel >= WIDTH) { continue; }", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_check_sees_a_mistake(mistake, monkeypatch):
    module, name, right, wrong = MISTAKES[mistake]
    text = getattr(module, name)
    assert right in text, "the text has changed: change the mistake"
    monkeypatch.setattr(module, name, text.replace(right, wrong))
    built = tuple(MetalOnCPU(kernel) for kernel in module.kernels.__wrapped__("metal"))
    monkeypatch.setattr(module, "kernels", lambda language: built)
    definition = {group_norm: affine, add_layer_norm: add_norm, max_pool: pool}[module]
    found = module.CHECK.problem(mx.float32, definition)
    assert found is not None
    assert "error:" not in found, found  # the mistake has to compile

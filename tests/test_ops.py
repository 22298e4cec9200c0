import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid_mlx import ops
from lucid_mlx.backends import float32_tolerance
from lucid_mlx.backends.cpu import convolution
from lucid_mlx.ops.self_test import deformable_attention_by_loops, self_test

sides = st.integers(1, 6)


def test_every_op_passes_its_self_test():
    errors = self_test()
    names = {"deformable attention", "gelu", "group norm", "point sample", "resize", "sigmoid", "sine positions"}
    names |= {"softmax", "softplus"}
    assert set(errors) == names
    assert max(errors.values()) < float32_tolerance()


@settings(max_examples=30, deadline=None)
@given(
    levels=st.lists(st.tuples(sides, sides), min_size=1, max_size=3),
    batch=st.integers(1, 2),
    spread=st.sampled_from([0.5, 1.0, 50.0]),
    seed=st.integers(0, 2**16),
)
def test_deformable_attention_equals_its_definition(levels, batch, spread, seed):
    rng = np.random.default_rng(seed)
    cells = sum(height * width for height, width in levels)
    value = rng.standard_normal((batch, cells, 2, 4), np.float32)
    locations = rng.uniform(0.5 - spread, 0.5 + spread, (batch, 3, 2, len(levels), 2, 2)).astype(np.float32)
    weights = rng.random((batch, 3, 2, len(levels), 2), np.float32)
    ours = ops.multi_scale_deformable_attention(mx.array(value), levels, mx.array(locations), mx.array(weights))
    np.testing.assert_allclose(
        np.array(ours), deformable_attention_by_loops(value, levels, locations, weights), atol=2e-5
    )


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_deformable_attention_in_half_precision_stays_in_it(dtype):
    levels = [(3, 4), (2, 2)]
    mx.random.seed(0)
    value = mx.random.normal((1, 16, 2, 4))
    locations = mx.random.uniform(shape=(1, 5, 2, 2, 4, 2))
    weights = mx.softmax(mx.random.normal((1, 5, 2, 8)), axis=-1).reshape(1, 5, 2, 2, 4)
    exact = ops.multi_scale_deformable_attention(value, levels, locations, weights)
    half = ops.multi_scale_deformable_attention(value.astype(dtype), levels, locations, weights.astype(dtype))
    assert half.dtype == dtype
    np.testing.assert_allclose(np.array(half.astype(mx.float32)), np.array(exact), atol=0.03)


def test_samples_outside_are_zero_even_infinitely_far():
    value = mx.ones((1, 4, 1, 4))
    locations = mx.array([-1e30, 1e30, -3.0, 4.0]).reshape(1, 1, 1, 1, 2, 2)
    out = ops.multi_scale_deformable_attention(value, [(2, 2)], locations, mx.ones((1, 1, 1, 1, 2)))
    assert mx.abs(out).max().item() == 0.0


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(sides, sides), target=st.tuples(st.integers(1, 15), st.integers(1, 15)))
def test_resizing_keeps_constants_and_range(size, target):
    mx.random.seed(0)
    constant = ops.resize_planes(mx.full((2, *size), 3.0), target)
    assert constant.shape == (2, *target)
    np.testing.assert_allclose(np.array(constant), 3.0, rtol=1e-6)
    x = mx.random.uniform(shape=(1, *size, 3))
    y = ops.resize_map(x, target)
    assert y.shape == (1, *target, 3)
    assert y.min().item() >= x.min().item() - 1e-6
    assert y.max().item() <= x.max().item() + 1e-6


@pytest.mark.parametrize("crop", [(32, 48), (29, 41), (1, 1)])
def test_resizing_a_part_equals_resizing_all_and_cropping(crop):
    mx.random.seed(0)
    x = mx.random.normal((2, 8, 12))
    whole = ops.resize_planes(x, (32, 48))[:, : crop[0], : crop[1]]
    part = ops.resize_planes(x, crop, extent=(crop[0] / 4, crop[1] / 4))
    np.testing.assert_allclose(np.array(part), np.array(whole), atol=1e-5)


def test_group_norm_is_exact_far_from_zero():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1, 64, 64, 64)) + 30.0).astype(np.float32)
    groups = x.astype(np.float64).reshape(1, -1, 32, 2)
    wanted = (groups - groups.mean((1, 3), keepdims=True)) / np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
    ours = ops.group_norm(mx.array(x), mx.ones(64), mx.zeros(64), 32)
    assert np.abs(np.array(ours) - wanted.reshape(x.shape)).max() < 3e-5


def test_group_norm_in_half_precision_computes_in_float32():
    x = mx.full((1, 64, 64, 32), 300.0, mx.float16)  # whose squares overflow
    y = ops.group_norm(x, mx.ones(32, mx.float16), mx.zeros(32, mx.float16), 32)
    assert y.dtype == mx.float16
    assert mx.abs(y).max().item() == 0.0


def test_gelu_is_the_exact_form_over_its_whole_range():
    from scipy.special import ndtr

    x = np.concatenate([np.linspace(-30, 30, 200_001), [-1e30, -0.0, 1e-30, 1e30]]).astype(np.float32)
    error = np.abs(np.array(ops.gelu(mx.array(x))) - x * ndtr(x.astype(np.float64)))
    assert (error <= np.maximum(1.5e-6, 2e-7 * np.abs(x))).all()


def test_gelu_s_gradient_is_the_exact_form_s():
    x = np.linspace(-8, 8, 4001, dtype=np.float32)
    exact = np.exp(-(x.astype(np.float64) ** 2) / 2) / np.sqrt(2 * np.pi) * x
    from scipy.special import ndtr

    gradient = np.array(mx.grad(lambda x: ops.gelu(x).sum())(mx.array(x)))
    assert np.abs(gradient - exact - ndtr(x.astype(np.float64))).max() < 1e-4


def test_a_nan_location_gives_nan_and_reads_nothing_outside():
    locations = mx.full((1, 500, 2, 1, 4, 2), mx.nan)
    out = ops.multi_scale_deformable_attention(mx.ones((1, 9, 2, 4)), [(3, 3)], locations, mx.ones((1, 500, 2, 1, 4)))
    assert mx.isnan(out).all().item()


@pytest.mark.parametrize("count", [1, 12, 49, 64, 144, 1000, 4096])
@pytest.mark.parametrize("spread", [0.0, 3.0, 300.0])
@pytest.mark.cpu("of the CPU's own way")
def test_softmax_is_exact_at_every_length_and_spread(count, spread):
    x = (spread * np.random.default_rng(0).standard_normal((3, 5, count))).astype(np.float32)
    powers = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    wanted = powers / powers.sum(axis=-1, keepdims=True)
    got = np.array(ops.softmax(mx.array(x)))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(got.sum(axis=-1), 1.0, rtol=2e-6)


def test_softmax_leaves_out_what_a_mask_took_and_passes_nan_on():
    least = mx.finfo(mx.float32).min
    np.testing.assert_allclose(np.array(ops.softmax(mx.array([0.0, least, 0.0, least]))), [0.5, 0, 0.5, 0], atol=1e-30)
    assert mx.isnan(ops.softmax(mx.array([[0.0, mx.nan]]))).all().item()


def test_softmax_s_gradient_is_exact():
    rng = np.random.default_rng(0)
    x, cotangent = rng.standard_normal((2, 4, 96), np.float32)
    powers = np.exp(x.astype(np.float64))
    p = powers / powers.sum(axis=-1, keepdims=True)
    wanted = p * (cotangent - (p * cotangent).sum(axis=-1, keepdims=True))
    gradient = mx.grad(lambda x: (ops.softmax(x) * mx.array(cotangent)).sum())(mx.array(x))
    assert np.abs(np.array(gradient) - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.cpu("of the CPU's own way")
def test_sigmoid_keeps_its_digits_however_small_it_gets():
    x = np.concatenate([np.linspace(-87, 87, 200_001), np.linspace(-1, 1, 20_001), [-1e-9, 0.0]]).astype(np.float32)
    wanted = 1 / (1 + np.exp(-x.astype(np.float64)))
    got = np.array(ops.sigmoid(mx.array(x)))
    assert np.abs(got / wanted - 1).max() < 4e-7
    assert got[-1] == 0.5


def test_sigmoid_saturates_and_passes_nan_on():
    got = np.array(ops.sigmoid(mx.array([100.0, 1e30, mx.inf, -100.0, -1e30, -mx.inf, mx.nan])))
    assert (got[:3] == 1.0).all()
    assert (got[3:6] < 2e-38).all()
    assert np.isnan(got[6])


def test_sigmoid_s_gradient_is_exact():
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    p = 1 / (1 + np.exp(-x.astype(np.float64)))
    gradient = np.array(mx.grad(lambda x: ops.sigmoid(x).sum())(mx.array(x)))
    assert np.abs(gradient - p * (1 - p)).max() < 1e-5


def test_sigmoid_keeps_half_precision():
    assert ops.sigmoid(mx.array([0.0], mx.float16)).dtype == mx.float16


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)), kernel=st.sampled_from([1, 3, 7]), stride=st.integers(1, 2)
)
@settings(max_examples=40, deadline=None)
def test_convolving_band_by_band_changes_nothing(size, kernel, stride):
    keys = mx.random.split(mx.random.key(size[0] * 41 + size[1]))
    x = mx.random.normal((2, *size, 3), key=keys[0])
    weight = mx.random.normal((5, kernel, kernel, 3), key=keys[1])
    padding = kernel // 2
    whole = mx.conv2d(x, weight, stride, padding)
    for band in (1, 1 << 12, 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolution, "_BAND_BYTES", band)
            ours = ops.conv2d(x, weight, stride, padding)
        assert ours.shape == whole.shape
        # Sums of 147 products in another order; 9e-7 was the most on a grid of sizes.
        assert mx.abs(ours - whole).max().item() <= 3e-6 * mx.abs(whole).max().item()


@given(
    size=st.tuples(st.integers(7, 20), st.integers(7, 20)),
    kernel=st.sampled_from([(1, 2, 0), (3, 1, 0), (3, 1, 1), (3, 1, 3), (3, 2, 1), (4, 4, 0), (5, 1, 2), (7, 2, 3)]),
)
@settings(max_examples=40, deadline=None)
def test_the_gradient_of_a_convolution_is_mlx_s(size, kernel):
    kernel, stride, padding = kernel
    keys = mx.random.split(mx.random.key(size[0] * 41 + size[1]), 3)
    x = mx.random.normal((2, *size, 3), key=keys[0])
    weight = mx.random.normal((5, kernel, kernel, 3), key=keys[1])
    cotangent = mx.random.normal(mx.conv2d(x, weight, stride, padding).shape, key=keys[2])
    _, wanted = mx.vjp(lambda x, weight: mx.conv2d(x, weight, stride, padding), [x, weight], [cotangent])
    for band in (1, 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolution, "_BAND_BYTES", band)
            _, ours = mx.vjp(lambda x, weight: ops.conv2d(x, weight, stride, padding), [x, weight], [cotangent])
        for one, other in zip(ours, wanted, strict=True):
            assert mx.allclose(one, other, atol=1e-4).item()


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 4), (8, 8), (9, 2)])
def test_pooling_and_its_gradient_are_mlx_s(size):
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    x = mx.random.normal((2, *size, 3), key=mx.random.key(0))
    cotangent = mx.random.normal(pool(x).shape, key=mx.random.key(1))
    (ours,), (gradient,) = mx.vjp(ops.max_pool, [x], [cotangent])
    (wanted,), (wanted_gradient,) = mx.vjp(pool, [x], [cotangent])
    assert mx.array_equal(ours, wanted).item()
    assert mx.allclose(gradient, wanted_gradient, atol=1e-6).item()


@pytest.mark.cpu("of the CPU's own way")
def test_a_convolution_does_not_write_out_all_its_windows_at_once():
    x, weight = mx.zeros((1, 128, 128, 128)), mx.zeros((128, 3, 3, 128))
    mx.eval(x, weight)
    mx.reset_peak_memory()
    previous = mx.set_memory_limit(1)  # one operation at a time
    before = mx.get_active_memory()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolution, "_BAND_BYTES", 8 << 20)
            mx.eval(ops.conv2d(x, weight, padding=1))
    finally:
        mx.set_memory_limit(previous)
    assert mx.get_peak_memory() - before < 60 << 20  # 88 with all windows, 34 with a band of them

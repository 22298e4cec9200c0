"""Which form of deformable attention is used where. The kernels themselves are tested in tests/kernels."""

import inspect
import warnings
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from lucid_mlx.backends.cpu import deformable_attention
from lucid_mlx.backends.gpu import comparison, deformable_kernel, self_check
from lucid_mlx.ops import multi_scale_deformable_attention

definition = inspect.unwrap(multi_scale_deformable_attention)

LEVELS = [(3, 4), (2, 5)]


class Kernels:
    """Stands for the pair of kernels on a GPU; computes as the definition does, but for a factor."""

    def __init__(self, factor=1.0, gradient_factor=1.0):
        self.factor, self.gradient_factor, self.calls = factor, gradient_factor, 0

    def __iter__(self):
        return iter((self.forward, self.backward))

    def attend(self, value, locations, weights, table):
        levels = [(height, width) for height, width, _ in table.tolist()]
        return self.factor * definition(value, levels, locations, weights)

    def forward(self, inputs, **_):
        self.calls += 1
        return [self.attend(*inputs)]

    def backward(self, inputs, **_):
        *primals, table, cotangent = inputs
        _, gradients = mx.vjp(lambda *primals: self.attend(*primals, table), primals, [cotangent])
        return [self.gradient_factor * x for x in gradients]


@pytest.fixture
def on_gpu(monkeypatch):
    """Has the default device pass for a GPU with the given kernels."""
    self_check._passes.cache_clear()
    gpu = SimpleNamespace(type=mx.DeviceType.gpu)
    monkeypatch.setattr(mx, "default_device", lambda: gpu)

    def with_kernels(kernels):
        monkeypatch.setattr(deformable_kernel, "kernels", lambda language: kernels)
        return kernels

    yield with_kernels
    self_check._passes.cache_clear()


def arrays(dtype=mx.float32, dim=8):
    rng = np.random.default_rng(0)
    value = rng.standard_normal((1, 22, 2, dim), np.float32)
    locations = rng.uniform(-0.2, 1.2, (1, 6, 2, 2, 3, 2)).astype(np.float32)
    return mx.array(value).astype(dtype), mx.array(locations), mx.array(rng.random((1, 6, 2, 2, 3), np.float32))


def attend(value, locations, weights):
    return multi_scale_deformable_attention(value, LEVELS, locations, weights)


def plain(value, locations, weights):
    return definition(value, LEVELS, locations, weights)


@pytest.mark.cpu("it makes a GPU of its own")
def test_a_gpu_checks_the_kernel_once_and_uses_it(on_gpu):
    kernels = on_gpu(Kernels())
    for _ in range(3):
        np.testing.assert_array_equal(np.array(attend(*arrays())), np.array(plain(*arrays())))
    assert kernels.calls == 4


@pytest.mark.parametrize("dtype", comparison.TOLERANCES, ids=str)
def test_gradients_go_through_the_kernel(on_gpu, dtype):
    on_gpu(Kernels())
    got = mx.grad(lambda *x: attend(*x).sum(), argnums=(0, 1, 2))(*arrays(dtype))
    wanted = mx.grad(lambda *x: plain(*x).sum(), argnums=(0, 1, 2))(*arrays(dtype))
    assert [x.dtype for x in got] == [dtype, mx.float32, mx.float32]
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(np.array(ours.astype(mx.float32)), np.array(theirs.astype(mx.float32)), atol=0.1)


@pytest.mark.parametrize("transform", [mx.compile, mx.checkpoint, lambda f: mx.compile(mx.grad(f)), mx.grad])
@pytest.mark.cpu("it makes a GPU of its own")
def test_the_check_runs_inside_of_transformations(on_gpu, transform):
    kernels = on_gpu(Kernels())
    got = transform(lambda *x: attend(*x).sum())(*arrays())
    wanted = transform(lambda *x: plain(*x).sum())(*arrays())
    np.testing.assert_allclose(np.array(got), np.array(wanted), rtol=1e-5)
    assert kernels.calls == 2


class Broken(Kernels):
    def forward(self, inputs, **_):
        raise RuntimeError("[metal::Device] Unable to build metal library from source")


@pytest.mark.parametrize(
    ("kernels", "reason"),
    [
        (Kernels(factor=1.01), "output off by 1e-02, gradient of value off by 1e-02"),
        (Kernels(gradient_factor=-1.0), "gradient of value off by 2e+00, gradient of locations off by 2e+00"),
        (Kernels(factor=float("nan")), "output off by nan"),
        (Broken(), "RuntimeError: [metal::Device] Unable to build metal library from source"),
    ],
    ids=["wrong output", "wrong gradients", "nan", "does not compile"],
)
@pytest.mark.cpu("it makes a GPU of its own")
def test_a_kernel_that_fails_is_replaced_with_one_warning(on_gpu, kernels, reason):
    on_gpu(kernels)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for dtype in (mx.float32, mx.float16):
            for _ in range(2):
                np.testing.assert_array_equal(np.array(attend(*arrays(dtype))), np.array(plain(*arrays(dtype))))
    (warning,) = caught
    assert "lucid-mlx doctor" in str(warning.message)
    case = self_check.Case(mx.float32, heads=2, dim=8, levels=2, points=3)
    assert reason in self_check.problem(case, definition)


@pytest.mark.parametrize("dim", [4, 12, 256])
def test_head_dims_without_a_kernel_stay_plain(on_gpu, dim):
    kernels = on_gpu(Kernels())
    value, locations, weights = arrays(dim=dim)
    assert attend(value, locations, weights).shape == (1, 6, 2 * dim)
    assert kernels.calls == 0


def test_the_cpu_never_asks_for_a_kernel(monkeypatch):
    monkeypatch.delattr(deformable_kernel, "kernels")
    with mx.stream(mx.cpu):
        mx.eval(attend(*arrays()))


@pytest.mark.parametrize("dtype", comparison.TOLERANCES, ids=str)
def test_on_the_cpu_a_sparse_product_gives_what_the_definition_gives(dtype):
    ours, theirs = attend(*arrays(dtype)), plain(*arrays(dtype))
    assert ours.dtype == theirs.dtype == dtype
    difference = mx.abs(ours.astype(mx.float32) - theirs.astype(mx.float32)).max().item()
    assert difference < comparison.TOLERANCES[dtype] * mx.abs(theirs).max().item()


@pytest.mark.parametrize(
    "transform",
    [mx.compile, mx.checkpoint, mx.grad, lambda f: mx.compile(mx.grad(f)), lambda f: mx.grad(mx.checkpoint(f))],
)
def test_inside_of_transformations_there_is_no_sparse_product(monkeypatch, transform):
    inside = transform(lambda *x: attend(*x).sum())
    wanted = transform(lambda *x: plain(*x).sum())(*arrays())
    if transform is not mx.checkpoint:  # which is no transformation without a gradient
        monkeypatch.delattr(deformable_attention, "sum_by_sparse_product")
    np.testing.assert_allclose(np.array(inside(*arrays())), np.array(wanted), rtol=1e-5)

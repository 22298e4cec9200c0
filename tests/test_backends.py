"""Every operation that a backend computes in its own way against its definition, values and gradients."""

import inspect
import os
import subprocess
import sys
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from helpers import RESNET, SWIN, small_model

from lucid_mlx import backends, ops
from lucid_mlx.backends.cpu import parallel
from lucid_mlx.backends.cpu.operations import OPERATIONS
from lucid_mlx.backends.evaluation import start
from lucid_mlx.backends.gpu import add_layer_norm, group_norm, max_pool, self_check
from lucid_mlx.backends.gpu.comparison import Check
from lucid_mlx.backends.gpu.operations import OPERATIONS as GPU_OPERATIONS
from lucid_mlx.ops import Linear
from lucid_mlx.ops.resize import resize_by_weights


def normal(*shape):
    return mx.array(np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32))


def layer(inputs, outputs):
    made = Linear(inputs, outputs)
    made.weight, made.bias = normal(outputs, inputs) / inputs**0.5, normal(outputs)
    return made


MASK = mx.array(np.random.default_rng(0).random((2, 5, 9)) > 0.5)
MASK = MASK | ~MASK.any(axis=-1, keepdims=True)
LEVELS = [(4, 5), (2, 3), (1, 1)]
POINTS = mx.array(np.random.default_rng(1).uniform(-0.2, 1.2, (2, 30, 2)).astype(np.float32))
WINDOW_MASK = mx.where(mx.array(np.random.default_rng(2).random((6, 16, 16)) > 0.8), -100.0, 0.0)

# For each operation the arrays that it is differentiated in, and how it is called with them.
CASES = {
    "add_layer_norm": (
        [normal(2, 9, 8), 2 * normal(2, 9, 8), normal(8), normal(1, 8)[0]],
        lambda op: lambda *x: mx.stack(op(*x, 1e-5, True)),
    ),
    "attention": ([normal(2, 4, 5, 8), normal(2, 4, 9, 8), normal(2, 4, 9, 8)], lambda op: lambda *x: op(*x, MASK)),
    "conv2d": ([normal(2, 9, 7, 3), normal(4, 3, 3, 3)], lambda op: lambda *x: op(*x, 1, 1)),
    "feed_forward": ([normal(2, 9, 6)], lambda op: lambda x: op(x, layer(6, 12), layer(12, 6), ops.gelu)),
    "gelu": ([3 * normal(4, 50)], lambda op: op),
    "group_norm_affine": (
        [normal(2, 7, 5, 8), normal(8), normal(1, 8)[0]],
        lambda op: lambda *x: mx.stack(op(*x, 2, 1e-5)),
    ),
    "layer_norm": ([normal(2, 9, 6), normal(6), normal(1, 6)[0]], lambda op: op),
    "linear": ([normal(2, 9, 6), normal(4, 6), normal(4)], lambda op: op),
    "mask_losses": (
        [5 * normal(2, 6, 5)],
        lambda op: lambda logits: op(logits, POINTS, (normal(2, 30) > 0).astype(mx.float32)),
    ),
    "mask_matching_cost": (
        [5 * normal(7, 6, 5)],
        lambda op: lambda logits: op(logits, normal(3, 8, 9) > 0, POINTS[0], 5.0, 2.0),
    ),
    "matmul": ([normal(2, 5, 6), normal(1, 2, 6, 9)[0]], lambda op: op),
    "max_pool": ([normal(2, 9, 7, 3)], lambda op: op),
    "multi_scale_deformable_attention": (
        [
            normal(2, 27, 2, 8),
            mx.array(np.random.default_rng(3).uniform(-0.2, 1.2, (2, 6, 2, 3, 4, 2)).astype(np.float32)),
            mx.abs(normal(2, 6, 2, 3, 4)),
        ],
        lambda op: lambda value, *rest: op(value, LEVELS, *rest),
    ),
    "point_sample": ([normal(2, 3, 6, 5)], lambda op: lambda planes: op(planes, POINTS)),
    "resize_by_weights": ([normal(2, 6, 5, 3), normal(9, 6), normal(4, 5)], lambda op: op),
    "row_sum": ([normal(3, 256)], lambda op: op),
    "sample_matched_masks": (
        [normal(4, 6, 5)],
        lambda op: (
            lambda logits: op(
                logits,
                normal(3, 8, 9) > 0,
                mx.array([3, 1]),
                mx.array([0, 2]),
                lambda x: x.flatten(1)[..., None] * 0.1 + POINTS,
            )[1]
        ),
    ),
    "sigmoid": ([5 * normal(4, 50)], lambda op: op),
    "softmax": ([5 * normal(4, 96)], lambda op: op),
    "softplus_and_sigmoid": ([5 * normal(4, 50)], lambda op: lambda x: mx.stack(op(x))),
    "window_attention": (
        [normal(2, 6, 16, 8), normal(4, 16, 16)],
        lambda op: lambda x, bias: op(x, layer(8, 24), layer(8, 8), 4, bias, WINDOW_MASK),
    ),
    "window_merge": ([normal(2, 6, 16, 3)], lambda op: lambda x: op(x, (7, 10), 4, 2)),
    "window_partition": ([normal(2, 7, 10, 3)], lambda op: lambda x: op(x, 4, 2)),
}


def test_every_operation_has_a_case():
    assert set(CASES) == {*OPERATIONS, *GPU_OPERATIONS} - {"evaluate"}  # which gives no array: see test_parallel


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_an_operation_and_its_gradients_are_as_defined(name, streams, monkeypatch):
    monkeypatch.setattr(parallel, "STREAMS", streams)
    monkeypatch.setattr(parallel, "_SMALL", 1)
    compare_with_definition(name)


@pytest.mark.parametrize("name", GPU_OPERATIONS)
def test_a_gpu_s_operation_and_its_gradients_are_as_defined(name, gpu):
    compare_with_definition(name)


@pytest.fixture
def gpu(monkeypatch):
    """Has the package believe in a GPU, without the kernels, which tests/kernels runs."""
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.gpu))
    monkeypatch.setattr(self_check, "_passes", lambda *_: False)
    monkeypatch.setattr(Check, "passed", lambda *_: False)


def compare_with_definition(name):
    arrays, call = CASES[name]
    operation = resize_by_weights if name == "resize_by_weights" else getattr(ops, name)
    definition = inspect.unwrap(operation)
    assert definition is not operation
    wanted = call(definition)(*arrays)
    assert mx.allclose(call(operation)(*arrays), wanted, rtol=1e-4, atol=1e-5).item()
    cotangent = mx.array(np.random.default_rng(9).standard_normal(wanted.shape).astype(np.float32))
    _, ours = mx.vjp(call(operation), arrays, [cotangent])
    _, theirs = mx.vjp(call(definition), arrays, [cotangent])
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert mx.abs(one - other).max().item() < 2e-5 * max(mx.abs(other).max().item(), 1.0)


def test_numbers_of_a_type_that_a_backend_does_not_serve_take_the_definition():
    x = normal(4, 50).astype(mx.float16)
    assert mx.array_equal(ops.gelu(x), inspect.unwrap(ops.gelu)(x)).item()


def test_arguments_may_have_names():
    x = normal(4, 50)
    assert mx.array_equal(ops.softmax(x=x), ops.softmax(x)).item()
    layer = Linear(50, 3)
    assert mx.array_equal(ops.linear(x, weight=layer.weight), ops.linear(x, layer.weight)).item()
    cost = ops.mask_matching_cost(normal(7, 6, 5), normal(3, 8, 9) > 0, POINTS[0], mask_weight=5.0, dice_weight=2.0)
    assert mx.array_equal(
        cost, ops.mask_matching_cost(normal(7, 6, 5), normal(3, 8, 9) > 0, POINTS[0], 5.0, 2.0)
    ).item()


@pytest.mark.parametrize(
    "transform",
    [
        mx.compile,
        mx.grad,
        lambda f: lambda x: mx.vjp(lambda x: f(x), [x], [mx.array(1.0)]),
        lambda f: mx.compile(mx.grad(f)),
        lambda f: mx.grad(mx.checkpoint(f)),
    ],
    ids=["compile", "grad", "vjp", "compiled gradient", "checkpoint"],
)
@pytest.mark.cpu("MLX compiles nothing where a GPU is believed in")
def test_a_trace_is_recognized(transform):
    found = []

    def function(x):
        y = mx.square(x) + 1.0
        found.append(start(y))
        return y.sum()

    transform(function)(mx.arange(3.0))
    assert found
    assert not any(found)
    function(mx.arange(3.0))
    assert found[-1]


def test_a_gpu_is_asked_for_by_meaning(monkeypatch):
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.gpu))
    assert (backends.device_name(), backends.default_dtype()) == ("GPU", mx.float16)
    assert backends.compilation_is_fast()
    assert backends.packed_weights_are_fast()
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.cpu))
    assert (backends.device_name(), backends.default_dtype()) == ("CPU", mx.float32)
    assert not backends.compilation_is_fast()
    assert not backends.packed_weights_are_fast()


@pytest.mark.parametrize("backbone", [SWIN, RESNET], ids=["swin", "resnet"])
@pytest.mark.cpu("it has the self-checks fail")
def test_a_gpu_s_operations_compute_the_same_network(backbone, monkeypatch):
    model = small_model(backbone_config=backbone)
    pixels = normal(2, 3, 70, 90)
    wanted = model(pixels)
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.gpu))
    checks = [self_check._passes.cache_clear, *(x.CHECK.forget for x in (group_norm, add_layer_norm, max_pool))]
    for forget in checks:
        forget()
    with pytest.warns(RuntimeWarning, match="kernel fails on this machine"):  # there is no GPU to compile it for
        got = model(pixels)
    for forget in checks:
        forget()
    for name in ("class_queries_logits", "masks_queries_logits"):
        assert mx.abs(got[name] - wanted[name]).max().item() < 1e-4 * mx.abs(wanted[name]).max().item()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_precision_keeps_away_from_winograd(dtype, gpu):
    x, weight = normal(1, 6, 7, 128).astype(dtype), normal(128, 3, 3, 128).astype(dtype)
    flips = []
    kept = mx.conv_general

    def convolve(*args, **kwargs):
        flips.append(kwargs["flip"])
        return kept(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx, "conv_general", convolve)
        got = ops.conv2d(x, weight, 1, 1)
    assert flips == [True]
    assert mx.array_equal(got, mx.conv2d(x, weight, 1, 1)).item()


def test_queries_that_a_mask_leaves_nothing_stay_finite(gpu):
    query, key = normal(1, 2, 3, 8).astype(mx.float16), normal(1, 2, 9, 8).astype(mx.float16)
    assert mx.isfinite(ops.attention(query, key, key, mx.zeros((1, 3, 9), mx.bool_))).all().item()


def test_the_self_checks_start_no_compiler(tmp_path):
    """On a Mac without command line tools g++ opens a dialog that offers to install them."""
    compiler, called = tmp_path / "g++", tmp_path / "called"
    compiler.write_text(f"#!/bin/sh\ntouch {called}\nexit 1\n")
    compiler.chmod(0o755)
    script = (
        "import inspect, mlx.core as mx\n"
        "from lucid_mlx import ops\n"
        "from lucid_mlx.backends.gpu import comparison\n"
        "x = mx.ones((2, 3, 8, 8))\n"
        "affine, add = inspect.unwrap(ops.group_norm_affine), inspect.unwrap(ops.add_layer_norm)\n"
        "attend = inspect.unwrap(ops.multi_scale_deformable_attention)\n"
        "run = lambda f, *rest: comparison.differences(*[lambda *x: list(f(*x))] * 2, *rest)\n"
        "run(lambda x: affine(x, mx.ones(8), mx.ones(8), 2, 1e-5), [x], [mx.ones((2, 1, 1, 8))] * 2, 'abc')\n"
        "run(lambda x: add(x, x, mx.ones(8), mx.ones(8), 1e-5, True), [x], [x, x], 'abc')\n"
        "value, places, weights = mx.ones((1, 6, 2, 8)), mx.full((1, 3, 2, 1, 2, 2), 0.4), mx.ones((1, 3, 2, 1, 2))\n"
        "run(lambda *x: [attend(x[0], [(2, 3)], *x[1:])], [value, places, weights], [mx.ones((1, 3, 16))], 'abcd')\n"
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert not called.exists()

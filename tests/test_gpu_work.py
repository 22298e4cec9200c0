"""The work of a forward on Apple's GPU, counted: what MLX launches, and which bytes pass."""

import json
from itertools import product

import mlx.core as mx
import numpy as np
import pytest
from helpers import SCENES, run_cli, small_model
from mlx.utils import tree_flatten

from lucid_mlx.models import create_model
from lucid_mlx.profiling.gpu_fusion import fuse
from lucid_mlx.profiling.gpu_graph import Array, read_graph, view_strides
from lucid_mlx.profiling.gpu_rules import launches
from lucid_mlx.profiling.gpu_work import gpu_work

# Launches, and megabytes read and written, of one forward: float16, compiled, batch 1. Whoever changes them says in
# docs/performance.md what moves.
COUNTED = {
    ("swin_tiny", 512): (657, 2086),
    ("swin_tiny", 1024): (657, 7814),
    ("resnet_50", 512): (566, 1764),
    ("resnet_50", 1024): (566, 6547),
}


@pytest.fixture(scope="module")
def works():
    found = {}
    for preset in ("swin_tiny", "resnet_50"):
        model = create_model(f"mask2former_{preset}", 133).eval()
        model.set_dtype(mx.float16)
        found |= {(preset, size): gpu_work(model, size, size) for size in (512, 1024)}
    return found


@pytest.mark.parametrize("case", COUNTED, ids=str)
def test_launches_and_bytes_are_those_of_the_documentation(works, case):
    assert (len(works[case].launches), round(works[case].moved / 1e6)) == COUNTED[case]


def count(function, *arrays):
    events = []
    mx.export_function(events.append, function, *arrays)
    return launches(fuse(read_graph(events)))


def test_counting_leaves_the_model_as_it_was():
    model = small_model()
    before = tree_flatten(model.parameters())
    first = gpu_work(model, 64, 96)
    assert all(x is y for (_, x), (_, y) in zip(before, tree_flatten(model.parameters()), strict=True))
    assert mx.isfinite(model(mx.zeros((1, 3, 64, 96)))["masks_queries_logits"]).all().item()
    assert gpu_work(model, 64, 96).by_kind() == first.by_kind()


def test_elementwise_operations_are_one_launch():
    x = mx.zeros((64, 32))
    (only,) = count(lambda x: mx.exp(x * 2.0) + x, x)
    assert (only.kind, only.read, only.written) == ("Compiled", 8192, 8192)


def test_a_product_reads_a_transposed_factor_as_it_is():
    x, y = mx.zeros((64, 32)), mx.zeros((16, 32))
    (only,) = count(lambda x, y: x @ y.T, x, y)
    assert (only.read, only.written, only.flops) == (4 * (64 * 32 + 16 * 32), 4 * 64 * 16, 2 * 64 * 32 * 16)


def test_tokens_from_heads_are_a_copy():
    kinds = [
        x.kind for x in count(lambda x: x.swapaxes(1, 2).reshape(1, 5, 32) @ x[0, 0, :1].T, mx.zeros((1, 1, 5, 32)))
    ]
    assert kinds == ["Matmul"]
    kinds = [x.kind for x in count(lambda x: mx.exp(x.swapaxes(1, 2).reshape(5, 32)), mx.zeros((1, 4, 5, 8)))]
    assert kinds == ["Copy", "Exp"]


@pytest.mark.parametrize("flip", [False, True])
def test_a_3x3_convolution_is_winograd_unless_its_kernel_is_flipped(flip):
    x, w = mx.zeros((1, 64, 64, 128)), mx.zeros((128, 3, 3, 128))
    found = count(lambda x, w: mx.conv_general(x, w, padding=1, flip=flip), x, w)
    assert {each.kind for each in found} == {"Convolution" if flip else "Winograd"}


SHAPES = [(4, 6), (24,), (2, 2, 6), (4, 1, 3, 2), (2, 12), (3, 8), (1, 24, 1), (2, 3, 4), (6, 4)]


@pytest.mark.parametrize(("shape", "new"), list(product(SHAPES, SHAPES)), ids=str)
@pytest.mark.parametrize("order", ["as it is", "transposed", "part"])
def test_views_are_those_of_numpy(shape, new, order):
    x = np.arange(48).reshape(2, 24)[:1].reshape(shape)
    if order == "transposed":
        x = x.T
    if order == "part":
        x = np.arange(2 * 24).reshape(*shape[:-1], 2 * shape[-1])[..., : shape[-1]]
    strides = view_strides(x.shape, tuple(s // x.itemsize for s in x.strides), new)
    shares = np.shares_memory(x.reshape(new), x)
    assert (strides is not None) == shares
    if strides is not None:
        start = x.__array_interface__["data"][0] - x.base.__array_interface__["data"][0]
        assert start == 0
        view = np.lib.stride_tricks.as_strided(x, new, [s * x.itemsize for s in strides])
        assert (view == x.reshape(new)).all()


def test_an_array_knows_its_layout():
    a = Array("A", (4, 6), "float16")
    a.lay()
    assert (a.strides, a.nbytes, a.by_rows, a.by_columns) == ((6, 1), 48, True, False)
    a.lay((0, 1), 6)
    assert (a.distinct_bytes, a.contiguous) == (12, False)


def test_bench_counts(tmp_path):
    row = tmp_path / "row.json"
    result = run_cli("bench", "--weights", SCENES, "--count", "--size", "64", "--batch-size", "1,2", "-o", str(row))
    assert "64x64, batch 2, counted for Apple's GPU" in result.output
    assert "AddMM" in result.output
    report = json.loads(row.read_text())
    assert report["dtype"] == "float16"
    one, two = report["rows"]
    assert one["launches"] <= two["launches"]
    assert one["bytes"] < two["bytes"]
    assert two["flops"] > 1.5 * one["flops"]


def test_another_size_of_image_needs_no_other_kernels(works):
    """MLX builds a Metal library for each text of a fused kernel, and writes single Python numbers into it."""
    for preset in ("swin_tiny", "resnet_50"):
        assert works[preset, 512].texts.keys() == works[preset, 1024].texts.keys()


def test_rows_overwritten_in_an_array_that_nobody_else_reads_are_no_copy():
    def overwrite(x):
        y = x[mx.array([0, 1, 1, 0])]
        y[mx.array([2])] = mx.array(0.0)
        return y

    assert [x.kind for x in count(overwrite, mx.zeros((3, 50)))] == ["Gather", "Scatter"]

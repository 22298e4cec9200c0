"""Mistakes that a port of the kernel could hold, and that the check has to see."""

import inspect

import mlx.core as mx
import pytest

from lucid_mlx.backends.gpu import deformable_kernel, kernel_text
from lucid_mlx.backends.gpu.self_check import Case, problem
from lucid_mlx.ops import multi_scale_deformable_attention

definition = inspect.unwrap(multi_scale_deformable_attention)

TEXTS = (
    *((kernel_text, name) for name in ("METAL_HEADER", "CUDA_HEADER")),
    *((deformable_kernel, name) for name in ("GEOMETRY", "FORWARD", "BACKWARD")),
)

MISTAKES = {
    "height and width swapped": (
        "height = levels[3 * level], width = levels[3 * level + 1]",
        "width = levels[3 * level], height = levels[3 * level + 1]",
    ),
    "half a cell off": ("* float(width) - 0.5f", "* float(width)"),
    "truncated, not floored": ("left = floor(x)", "left = float(int(x))"),
    "corners outside read": ("column >= 0 && ", ""),
    "the last row left out": ("row < height", "row < height - 1"),
    "samples at the left border dropped": ("x > -1.0f", "x > 0.0f"),
    "shares of the wrong corner": ("right ? x - left : 1.0f - (x - left)", "right ? 1.0f - (x - left) : x - left"),
    "every batch entry reads the first": ("batch * cells + first", "first"),
    "every head reads the first": ("* HEADS + head) * DIM", "* HEADS) * DIM"),
    "every level reads the first": ("batch * cells + first", "batch * cells"),
    "the next point's weight": ("weights[sample]", "weights[sample + 1]"),
    "all channels stored in the same place": ("out + (row * DIM + channel)", "out + (row * DIM)"),
    "the gradient of value overwritten, not added up": (
        "define LUCID_ADD(array, at, x)",
        "define LUCID_ADD LUCID_SET\n//",
    ),
    "the gradient of x with the wrong sign": ("right ? 1.0f : -1.0f", "right ? -1.0f : 1.0f"),
    "the gradient of x per cell": ("to_x *= weight * float(width)", "to_x *= weight"),
    "some lanes' channels forgotten": ("mask > 0", "mask > 1"),
    "lanes that exchange in a branch": ("for (int mask", "if (to_weight > 0.0f) for (int mask"),
    "threads beyond the grid, which CUDA starts": ("if (batch >= value_shape[0]) { return; }", ""),
}


@pytest.fixture
def mistake(request, monkeypatch):
    """Puts a mistake into the kernels' texts before they are built."""
    right, wrong = MISTAKES[request.param]
    holding = [(module, name) for module, name in TEXTS if right in getattr(module, name)]
    assert holding, "the text has changed: change the mistake"
    for module, name in holding:
        monkeypatch.setattr(module, name, getattr(module, name).replace(right, wrong))


@pytest.mark.parametrize(
    ("mistake", "backend"),
    [(name, "cuda" if "CUDA" in name else "metal") for name in MISTAKES],
    indirect=True,
)
def test_the_check_sees_a_mistake(mistake, backend):
    found = problem(Case(mx.float32, heads=5, dim=32, levels=3, points=2), definition)
    assert found is not None
    assert "g++" not in found, found  # the mistake has to compile

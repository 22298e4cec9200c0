"""What compilers for GPUs say to the kernels' texts."""

import inspect
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import mlx.core as mx
import pytest
from address_spaces import complaints
from kernel_texts import CudaKernel, metal_text

from lucid_mlx import ops
from lucid_mlx.backends.gpu import add_layer_norm, group_norm, group_norm_source, kernel_text, max_pool
from lucid_mlx.backends.gpu import deformable_source as source
from lucid_mlx.backends.gpu.comparison import TOLERANCES
from lucid_mlx.backends.gpu.deformable_kernel import arguments, kernels
from lucid_mlx.backends.gpu.self_check import Case, example

CASES = {
    "as in the network": Case(mx.float32, heads=8, dim=32, levels=3, points=4),
    "float16": Case(mx.float16, heads=8, dim=32, levels=3, points=4),
    "bfloat16": Case(mx.bfloat16, heads=8, dim=32, levels=3, points=4),
}
SOURCES = (add_layer_norm, group_norm_source, kernel_text, max_pool, source)
EVERY_TEXT = "".join(text for module in SOURCES for text in vars(module).values() if isinstance(text, str))


def calls(case):
    """Return the arguments of the forward and the backward call of a case."""
    (value, locations, weights, cotangent), levels = example(case)
    shared = arguments(value, locations, weights, levels)
    forward = shared | {"output_shapes": [cotangent.shape], "output_dtypes": [case.dtype]}
    backward = shared | {
        "inputs": [*shared["inputs"], cotangent],
        "output_shapes": [value.shape, locations.shape, weights.shape],
        "output_dtypes": [mx.float32] * 3,
        "init_value": 0.0,
    }
    return forward, backward


def metal_texts(case):
    return [metal_text(kernel, **call) for kernel, call in zip(kernels("metal"), calls(case), strict=True)]


@pytest.mark.parametrize("case", CASES)
def test_clang_accepts_the_metal_texts_and_their_address_spaces(case):
    assert [complaints(text) for text in metal_texts(CASES[case])] == [[], []]


def norm_texts(module, differences, monkeypatch, wrap):
    """Return the texts of a module's kernels, as its self-check calls them; those after a call see zeros."""
    texts = []

    def recording(kernel):
        def call(inputs, output_shapes, output_dtypes, **rest):
            shapes = {"output_shapes": output_shapes, "output_dtypes": output_dtypes}
            texts.append(wrap(kernel, inputs, **shapes, **rest))
            return [mx.zeros(shape, dtype) for shape, dtype in zip(output_shapes, output_dtypes, strict=True)]

        return call

    built = tuple(recording(kernel) for kernel in module.kernels.__wrapped__("metal"))
    monkeypatch.setattr(module, "kernels", lambda language: built)
    differences()
    return texts


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", ["group_norm", "add_layer_norm", "max_pool"])
def test_clang_accepts_the_other_kernels_metal_texts(name, dtype, monkeypatch):
    module, operation = {
        "group_norm": (group_norm, ops.group_norm_affine),
        "add_layer_norm": (add_layer_norm, ops.add_layer_norm),
        "max_pool": (max_pool, ops.max_pool),
    }[name]
    run = partial(module.CHECK.differences, dtype, inspect.unwrap(operation))
    texts = norm_texts(module, run, monkeypatch, metal_text)
    assert len(texts) == (2 if name == "group_norm" else 1)
    assert [complaints(text) for text in texts] == [[]] * len(texts)


def test_small_inputs_which_mlx_passes_in_the_constant_address_space():
    value, locations, weights = mx.zeros((1, 1, 1, 8)), mx.zeros((1, 1, 1, 1, 1, 2)), mx.zeros((1, 1, 1, 1, 1))
    call = arguments(value, locations, weights, [(1, 1)])
    text = metal_text(kernels("metal")[0], output_shapes=[(1, 1, 8)], output_dtypes=[mx.float32], **call)
    assert "const constant float* locations" in text
    assert complaints(text) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("sum = make_float4(", "thread float* plain = out; sum = make_float4("),
        ("float weight =", "float weight = value[0] ="),
        ("floor(x)", "floorf(x)"),
        ("lucid_store(out", "LUCID_ADD(out, 0, 1.0f); lucid_store(out"),
        ("- 0.5f", "- 0.5"),
    ],
    ids=["address space dropped", "an input written", "unknown function", "atomic on plain memory", "double"],
)
def test_clang_sees_a_mistake(right, wrong):
    text = metal_texts(CASES["as in the network"])[0]
    assert right in text
    assert complaints(text.replace(right, wrong)) != []


def test_every_pointer_of_a_metal_helper_names_its_address_space():
    # Which Clang does not ask for in a template.
    pointers = re.findall(r"[(,]([^(),]*\*)\s*\w+[,)]", kernel_text.METAL_HEADER + source.GEOMETRY)
    assert len(pointers) == 2
    assert all(re.search(r"\b(device|constant|thread)\b", pointer) for pointer in pointers)


def test_the_texts_are_ascii_which_is_how_mlx_hands_them_to_metal():
    assert EVERY_TEXT.isascii()


def test_no_name_collides_with_the_macro_that_mlx_defines_for_cuda():
    assert not re.search(r"\binf\b", EVERY_TEXT)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs CUDA's compiler, nvcc")
@pytest.mark.parametrize("case", CASES)
def test_nvcc_compiles_the_cuda_texts(case, monkeypatch, tmp_path):
    monkeypatch.setattr(mx.fast, "cuda_kernel", CudaKernel)
    for kernel, call in zip(kernels.__wrapped__("cuda"), calls(CASES[case]), strict=True):
        dtypes = [x.dtype for x in call["inputs"]] + call["output_dtypes"]
        file = Path(tmp_path, f"{kernel.name}.cu")
        file.write_text(NVCC_PRELUDE + kernel.text(dtypes, call["template"]))
        command = ["nvcc", "-std=c++17", "-arch=sm_90", "-Werror=all-warnings", "-cubin", "-o", "unused.cubin", file]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


NVCC_PRELUDE = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
struct Shape {
  int sizes[10];
  __device__ int operator[](int axis) const { return sizes[axis]; }
};
"""

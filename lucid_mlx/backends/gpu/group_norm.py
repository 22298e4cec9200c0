"""The statistics of group normalization in one read of the map, for Metal and CUDA.

Plain operations write the map in float32 and its squares, and read them again: at 1024x1024 pixels 620 MB for each of
the two large maps, where 100 do. tests/kernels compiles the texts for the CPU, as it does for deformable attention.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.gpu import comparison
from lucid_mlx.backends.gpu.comparison import Check
from lucid_mlx.backends.gpu.group_norm_source import AFFINE, PARTIAL
from lucid_mlx.backends.gpu.kernel_text import Language, build_kernel, language
from lucid_mlx.backends.gradient import WithGradient

Pair = tuple[mx.array, mx.array]
Definition = Callable[..., Pair]

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
ROWS = 64  # pixels of a thread


def _supports(x: mx.array, groups: int) -> bool:
    """Return whether there is a kernel for a map (B, H, W, C), which takes four channels at a time."""
    size = x.shape[-1] // groups
    return x.dtype in DTYPES and size % 4 == 0 and 8 <= x.size < 2**31  # MLX passes shorter arrays as constants


@cache
def kernels(language: Language) -> tuple[Any, Any]:
    """Build the kernel of the partial statistics, and that which merges them."""
    return (
        build_kernel(language, "group_norm_partial", ["x"], ["partial"], PARTIAL),
        build_kernel(
            language,
            "group_norm_affine",
            ["partial", "weight", "bias", "pixels", "eps"],
            ["scale", "shift"],
            AFFINE,
        ),
    )


def group_norm_affine(
    definition: Definition, x: mx.array, weight: mx.array, bias: mx.array, groups: int, eps: float = 1e-5
) -> Pair:
    """Compute `ops.group_norm_affine`; arguments and result as there. The gradient is the definition's."""
    if not (_supports(x, groups) and weight.dtype == bias.dtype and CHECK.passed(x.dtype, definition)):
        return definition(x, weight, bias, groups, eps)
    scale, shift = _affine(x, weight, bias, definition, groups, eps)
    return scale, shift


def _differences(dtype: mx.Dtype, definition: Definition) -> dict[str, float]:
    """Compare the kernels with the definition on a small map far from zero, of more than one thread's pixels."""
    rng = np.random.default_rng(0)
    numbers = 4.0 + rng.standard_normal((2, 11, 13, 24)), rng.standard_normal(24), rng.standard_normal(24)
    primals = [mx.array(x.astype(np.float32)).astype(dtype) for x in numbers]
    cotangents = [mx.array(rng.standard_normal((2, 1, 1, 24)).astype(np.float32)) for _ in range(2)]
    names = ("scale", "shift", "gradient of x", "gradient of weight", "gradient of bias")
    return comparison.differences(
        lambda *x: list(_affine(*x, definition, 3, 1e-5)),
        lambda *x: list(definition(*x, 3, 1e-5)),
        primals,
        cotangents,
        names,
    )


def _forward(x: mx.array, weight: mx.array, bias: mx.array, definition: Definition, groups: int, eps: float) -> Pair:
    batch, height, width, channels = x.shape
    pixels, size = height * width, channels // groups
    chunks = -(-pixels // ROWS)
    partial_kernel, affine_kernel = kernels(language())
    # On CUDA MLX keeps compiled kernels by name and template arguments alone: these have to tell cases apart.
    template = [("T", x.dtype), ("P", weight.dtype), ("SIZE", size), ("ROWS", ROWS)]
    (partial,) = partial_kernel(
        inputs=[x],
        template=template,
        grid=(batch * chunks * groups, 1, 1),
        threadgroup=(256, 1, 1),
        output_shapes=[(batch, chunks, groups, 2)],
        output_dtypes=[mx.float32],
    )
    # Numbers that depend on the image come as arrays: in the text each would make a new library.
    numbers = mx.array([pixels], mx.int32), mx.array([eps], mx.float32)
    scale, shift = affine_kernel(
        inputs=[partial, weight, bias, *numbers],
        template=template,
        grid=(batch * groups * 32, 1, 1),
        threadgroup=(256, 1, 1),
        output_shapes=[(batch, 1, 1, channels)] * 2,
        output_dtypes=[mx.float32] * 2,
    )
    return scale, shift


def _backward(primals: tuple[Any, ...], cotangents: Pair, outputs: Pair) -> tuple[mx.array, ...]:
    *arrays, definition, groups, eps = primals
    _, gradients = mx.vjp(lambda *arrays: definition(*arrays, groups, eps), arrays, list(cotangents))
    return tuple(gradients)


_affine = WithGradient(_forward, _backward)
CHECK = Check("group normalization", _differences)

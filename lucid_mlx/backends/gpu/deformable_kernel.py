"""Multi-scale deformable attention as one fused kernel each way, for Metal and CUDA.

The plain operations gather a gigabyte of corners at 1024x1024 pixels; the kernel writes its output and nothing else.
tests/kernels compiles the texts of both kinds for the CPU and compares them with the definition. Neither has run on
Apple hardware or a CUDA GPU yet: self_check.py compares it on the user's GPU before it is relied on.
"""

from functools import cache
from typing import Any, cast

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.gpu.deformable_source import BACKWARD, FORWARD, GEOMETRY
from lucid_mlx.backends.gpu.kernel_text import Language, build_kernel, language
from lucid_mlx.backends.gradient import WithGradient

Levels = list[tuple[int, int]]

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
HEAD_DIMS = (8, 16, 32, 64, 128)  # four channels a lane, and a SIMD group of 32 lanes holds whole heads


def supports(value: mx.array, locations: mx.array) -> bool:
    """Return whether there is a kernel for these arrays.

    Args:
        value: (B, S, heads, D).
        locations: (B, Q, heads, levels, points, 2).

    Returns:
        True if there is one.
    """
    heads, dim = value.shape[2:]
    output = locations.shape[0] * locations.shape[1] * heads * dim
    sizes = value.size, locations.size, output  # the kernel counts them in int32
    return value.dtype in DTYPES and dim in HEAD_DIMS and min(sizes) > 0 and max(sizes) < 2**31


@cache
def kernels(language: Language) -> tuple[Any, Any]:
    """Build the forward and the backward kernel."""
    inputs = ["value", "locations", "weights", "levels"]
    gradients = ["grad_value", "grad_locations", "grad_weights"]
    return (
        build_kernel(language, "msda_forward", inputs, ["out"], FORWARD, GEOMETRY),
        build_kernel(language, "msda_backward", [*inputs, "cotangent"], gradients, BACKWARD, GEOMETRY, atomic=True),
    )


def arguments(value: mx.array, locations: mx.array, weights: mx.array, levels: Levels) -> dict[str, Any]:
    """Return what both kernels are called with, apart from their outputs; arguments as of `ops`."""
    batch, queries = locations.shape[:2]
    heads, dim = value.shape[2:]
    starts = np.cumsum([0] + [height * width for height, width in levels])
    table = mx.array([[*size, int(start)] for size, start in zip(levels, starts, strict=False)], mx.int32)
    return {
        "inputs": [value, locations, weights, table],
        # On CUDA MLX keeps compiled kernels by name and template arguments alone: these have to tell cases apart.
        "template": [
            ("T", value.dtype),
            ("HEADS", heads),
            ("DIM", dim),
            ("LEVELS", len(levels)),
            ("POINTS", locations.shape[4]),
        ],
        "grid": (batch * queries * heads * dim // 4, 1, 1),
        "threadgroup": (256, 1, 1),
    }


def _forward(value: mx.array, locations: mx.array, weights: mx.array, levels: Levels) -> mx.array:
    batch, _, heads, dim = value.shape
    forward, _ = kernels(language())
    (out,) = forward(
        **arguments(value, locations, weights, levels),
        output_shapes=[(batch, locations.shape[1], heads * dim)],
        output_dtypes=[value.dtype],
    )
    return out


def _backward(
    primals: tuple[mx.array, mx.array, mx.array, Levels], cotangent: mx.array, output: mx.array
) -> tuple[mx.array, mx.array, mx.array]:
    value, locations, weights, levels = primals
    call = arguments(value, locations, weights, levels)
    _, backward = kernels(language())
    to_value, to_locations, to_weights = backward(
        **call | {"inputs": [*call["inputs"], cotangent]},
        output_shapes=[value.shape, locations.shape, weights.shape],
        output_dtypes=[mx.float32] * 3,
        init_value=0.0,  # the gradient of `value` is added up in place
    )
    return to_value.astype(value.dtype), to_locations, to_weights.astype(weights.dtype)


_attention = WithGradient(_forward, _backward)


def deformable_attention_kernel(value: mx.array, levels: Levels, locations: mx.array, weights: mx.array) -> mx.array:
    """Compute `multi_scale_deformable_attention` on the GPU; arguments and result as there.

    A NaN location makes the output and the gradients of its location and weight NaN, but not the gradient of `value`.
    """
    out = _attention(value, locations.astype(mx.float32), weights.astype(value.dtype), levels)
    return cast(mx.array, out)

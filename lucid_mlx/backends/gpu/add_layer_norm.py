"""A residual's addition and the layer normalization after it in one pass, for Metal and CUDA.

Apart they pass five times over the tokens, together three times, or four where the sum is wanted too. A SIMD group
takes a token and holds it in registers: T, P (the parameters' type), WIDTH and SUM (whether to write the sum) are
template arguments.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.gpu import comparison
from lucid_mlx.backends.gpu.comparison import Check
from lucid_mlx.backends.gpu.kernel_text import Language, build_kernel, language
from lucid_mlx.backends.gradient import WithGradient

Definition = Callable[..., tuple[mx.array, ...]]

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
MAX_WIDTH = 2048  # 64 registers a lane

BODY = """
  const int lane = int(index) % 32, row = int(index) / 32;
  if (row >= x_shape[0]) { return; }  // CUDA fills the last block
  constexpr int PARTS = (WIDTH / 4 + 31) / 32;
  const float4 ones = make_float4(1.0f, 1.0f, 1.0f, 1.0f);
  float4 parts[PARTS];
  float mean = 0.0f, variance = 0.0f;
  for (int i = 0; i < PARTS; ++i) {
    const int channel = 4 * (32 * i + lane);
    if (channel >= WIDTH) { continue; }
    parts[i] = lucid_load(x + (row * WIDTH + channel)) + lucid_load(y + (row * WIDTH + channel));
    if (SUM) { lucid_store(sum + (row * WIDTH + channel), parts[i]); }
    mean += dot(parts[i], ones) / float(WIDTH);
  }
  for (int mask = 16; mask > 0; mask /= 2) { mean += LUCID_OF_LANE_XOR(mask, mean); }
  for (int i = 0; i < PARTS; ++i) {
    if (4 * (32 * i + lane) >= WIDTH) { continue; }
    parts[i] = parts[i] + (-mean) * ones;
    variance += dot(parts[i], parts[i]) / float(WIDTH);
  }
  for (int mask = 16; mask > 0; mask /= 2) { variance += LUCID_OF_LANE_XOR(mask, variance); }
  const float inverse = 1.0f / sqrt(variance + eps[0]);
  for (int i = 0; i < PARTS; ++i) {
    const int channel = 4 * (32 * i + lane);
    if (channel >= WIDTH) { continue; }
    const float4 scale = inverse * lucid_load(weight + channel);
    lucid_store(normalized + (row * WIDTH + channel), parts[i] * scale + lucid_load(bias + channel));
  }
"""


def _supports(x: mx.array, y: mx.array, weight: mx.array | None, bias: mx.array | None) -> bool:
    """Return whether there is a kernel for arrays (..., C) and parameters (C,)."""
    if weight is None or bias is None or x.dtype != y.dtype or weight.dtype != bias.dtype or x.shape != y.shape:
        return False
    wide = x.shape[-1] % 4 == 0 and 8 <= x.shape[-1] <= MAX_WIDTH  # MLX passes shorter arrays as constants
    return wide and x.dtype in DTYPES and weight.dtype in DTYPES and 0 < x.size < 2**31 // 32


@cache
def kernels(language: Language) -> tuple[Any]:
    """Build the kernel, alone in a tuple."""
    inputs, outputs = ["x", "y", "weight", "bias", "eps"], ["normalized", "sum"]
    return (build_kernel(language, "add_layer_norm", inputs, outputs, BODY),)


def add_layer_norm(
    definition: Definition,
    x: mx.array,
    y: mx.array,
    weight: mx.array | None,
    bias: mx.array | None,
    eps: float = 1e-5,
    keep_sum: bool = True,
) -> tuple[mx.array, ...]:
    """Compute `ops.add_layer_norm`; arguments and result as there. The gradient is the definition's."""
    if not (_supports(x, y, weight, bias) and CHECK.passed(x.dtype, definition)):
        return definition(x, y, weight, bias, eps, keep_sum)
    outputs = _add_layer_norm(x, y, weight, bias, definition, eps, keep_sum)
    return outputs if keep_sum else (outputs,)


def _differences(dtype: mx.Dtype, definition: Definition, width: int = 140) -> dict[str, float]:
    """Compare the kernel with the definition on a few tokens, of more channels than a SIMD group takes at a time."""
    rng = np.random.default_rng(0)
    shapes = (2, 5, width), (2, 5, width), (width,), (width,), (2, 5, width), (2, 5, width)
    numbers = [mx.array(rng.standard_normal(shape).astype(np.float32)).astype(dtype) for shape in shapes]
    names = ("sum", "output", *(f"gradient of {name}" for name in ("x", "y", "weight", "bias")))
    return comparison.differences(
        lambda *x: list(_add_layer_norm(*x, definition, 1e-5, True)),
        lambda *x: list(definition(*x, 1e-5, True)),
        numbers[:4],
        numbers[4:],
        names,
    )


def _forward(
    x: mx.array, y: mx.array, weight: mx.array, bias: mx.array, definition: Definition, eps: float, keep_sum: bool
) -> Any:
    width = x.shape[-1]
    rows = x.size // width
    (kernel,) = kernels(language())
    normalized, total = kernel(
        inputs=[x.reshape(rows, width), y.reshape(rows, width), weight, bias, mx.array([eps], mx.float32)],
        # On CUDA MLX keeps compiled kernels by name and template arguments alone: these have to tell cases apart.
        template=[("T", x.dtype), ("P", weight.dtype), ("WIDTH", width), ("SUM", int(keep_sum))],
        grid=(rows * 32, 1, 1),
        threadgroup=(256, 1, 1),
        output_shapes=[x.shape, x.shape if keep_sum else (1,)],
        output_dtypes=[x.dtype] * 2,
    )
    return (total, normalized) if keep_sum else normalized


def _backward(primals: tuple[Any, ...], cotangents: Any, outputs: Any) -> tuple[mx.array, ...]:
    *arrays, definition, eps, keep_sum = primals
    if not keep_sum:
        cotangents = [cotangents]
    _, gradients = mx.vjp(lambda *arrays: list(definition(*arrays, eps, keep_sum)), arrays, list(cotangents))
    return tuple(gradients)


_add_layer_norm = WithGradient(_forward, _backward)
CHECK = Check("layer normalization", _differences)

"""The pooling after a ResNet's stem in one pass, for Metal and CUDA; MLX's own writes a padded copy first."""

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.gpu import comparison
from lucid_mlx.backends.gpu.comparison import Check
from lucid_mlx.backends.gpu.kernel_text import Language, build_kernel, language
from lucid_mlx.backends.gradient import WithGradient

Definition = Callable[[mx.array], mx.array]

DTYPES = (mx.float32, mx.float16, mx.bfloat16)

FUNCTIONS = """
LUCID_FUNCTION float lucid_larger(float a, float b) { return b > a || isnan(b) ? b : a; }
"""

# A thread computes four channels of a pixel. T is a template argument.
BODY = """
  const int height = x_shape[1], width = x_shape[2], parts = x_shape[3] / 4;
  const int rows = (height + 1) / 2, columns = (width + 1) / 2;
  const int part = int(index) % parts, column = int(index) / parts % columns;
  const int row = int(index) / (parts * columns) % rows, batch = int(index) / (parts * columns * rows);
  if (batch >= x_shape[0]) { return; }  // CUDA fills the last block
  const int top = row > 0 ? 2 * row - 1 : 0, bottom = 2 * row + 1 < height ? 2 * row + 1 : height - 1;
  const int left = column > 0 ? 2 * column - 1 : 0, right = 2 * column + 1 < width ? 2 * column + 1 : width - 1;
  float4 largest = lucid_load(x + 4 * (((batch * height + top) * width + left) * parts + part));
  for (int y = top; y <= bottom; ++y) {
    for (int z = left; z <= right; ++z) {
      const float4 v = lucid_load(x + 4 * (((batch * height + y) * width + z) * parts + part));
      largest = make_float4(
          lucid_larger(largest.x, v.x), lucid_larger(largest.y, v.y), lucid_larger(largest.z, v.z),
          lucid_larger(largest.w, v.w));
    }
  }
  lucid_store(out + 4 * int(index), largest);
"""


def _supports(x: mx.array) -> bool:
    """Return whether there is a kernel for a map (B, H, W, C), which takes four channels at a time."""
    return x.dtype in DTYPES and x.shape[-1] % 4 == 0 and 8 <= x.size < 2**31  # MLX passes shorter ones as constants


@cache
def kernels(language: Language) -> tuple[Any]:
    """Build the kernel, alone in a tuple."""
    return (build_kernel(language, "max_pool", ["x"], ["out"], BODY, FUNCTIONS),)


def max_pool(definition: Definition, x: mx.array) -> mx.array:
    """Compute `ops.max_pool`; arguments and result as there. The gradient is the definition's."""
    if not (_supports(x) and CHECK.passed(x.dtype, definition)):
        return definition(x)
    out: mx.array = _max_pool(x, definition)
    return out


def _differences(dtype: mx.Dtype, definition: Definition) -> dict[str, float]:
    """Compare the kernel with the definition on a small map of odd size, all of it below zero."""
    x, cotangent = (np.random.default_rng(0).standard_normal(shape) for shape in ((2, 5, 7, 12), (2, 3, 4, 12)))
    return comparison.differences(
        lambda x: [_max_pool(x, definition)],
        lambda x: [definition(x)],
        [mx.array((x - 8.0).astype(np.float32)).astype(dtype)],
        [mx.array(cotangent.astype(np.float32)).astype(dtype)],
        ("output", "gradient of x"),
    )


def _forward(x: mx.array, definition: Definition) -> mx.array:
    batch, height, width, channels = x.shape
    shape = batch, -(-height // 2), -(-width // 2), channels
    (kernel,) = kernels(language())
    (out,) = kernel(
        inputs=[x],
        # On CUDA MLX keeps compiled kernels by name and template arguments alone: these have to tell cases apart.
        template=[("T", x.dtype)],
        grid=(int(np.prod(shape)) // 4, 1, 1),
        threadgroup=(256, 1, 1),
        output_shapes=[shape],
        output_dtypes=[x.dtype],
    )
    return out


def _backward(primals: tuple[Any, ...], cotangent: mx.array, output: mx.array) -> tuple[mx.array]:
    x, definition = primals
    _, (gradient,) = mx.vjp(lambda x: [definition(x)], [x], [cotangent])
    return (gradient,)


_max_pool = WithGradient(_forward, _backward)
CHECK = Check("pooling", _differences)

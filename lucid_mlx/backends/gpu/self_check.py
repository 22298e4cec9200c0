"""Whether the fused deformable attention kernel does on this machine's GPU what the definition does."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.backends.device import device
from lucid_mlx.backends.gpu import comparison
from lucid_mlx.backends.gpu.comparison import passes
from lucid_mlx.backends.gpu.deformable_kernel import Levels, deformable_attention_kernel, supports

Attention = Callable[..., mx.array]


class Case(NamedTuple):
    """What a kernel is compiled for."""

    dtype: mx.Dtype
    heads: int
    dim: int
    levels: int
    points: int


def usable(value: mx.array, locations: mx.array, definition: Attention) -> bool:
    """Return whether the default device has the kernel for these arrays and passes the comparison with the definition.

    Args:
        value: (B, S, heads, D).
        locations: (B, Q, heads, levels, points, 2).
        definition: the operation in plain MLX, to compare with.

    Returns:
        True if the kernel may be used.
    """
    if device() != "gpu" or not supports(value, locations):
        return False
    return _passes(Case(value.dtype, *value.shape[2:], *locations.shape[3:5]), definition)


@cache
def _passes(case: Case, definition: Attention) -> bool:
    return passes(problem(case, definition), "deformable attention", stacklevel=5)


def problem(case: Case, definition: Attention) -> str | None:
    """Run the kernel and the definition on a small input, forward and backward.

    Args:
        case: what to compile the kernel for.
        definition: the operation in plain MLX, to compare with.

    Returns:
        None if they agree, or what is wrong with the kernel.
    """
    return comparison.problem(lambda: differences(*example(case), definition), case.dtype)


def example(case: Case) -> tuple[list[mx.array], Levels]:
    """Make an input of odd and unequal levels.

    Args:
        case: whose dtype and shapes it has.

    Returns:
        Value, locations, weights and a gradient of the output, shapes as of `multi_scale_deformable_attention`; and the
        levels.
    """
    rng = np.random.default_rng(0)
    levels = [(3 + 2 * (level % 2), 4 - level % 3) for level in range(case.levels)]
    samples = (2, 5, case.heads, case.levels, case.points)
    numbers = [
        rng.standard_normal((2, sum(height * width for height, width in levels), case.heads, case.dim)),
        rng.uniform(-0.3, 1.3, (*samples, 2)),
        rng.random(samples),
        rng.standard_normal((2, 5, case.heads * case.dim)),
    ]
    dtypes = case.dtype, mx.float32, case.dtype, case.dtype
    return [mx.array(x.astype(np.float32)).astype(dtype) for x, dtype in zip(numbers, dtypes, strict=True)], levels


def differences(arrays: list[mx.array], levels: Levels, definition: Attention) -> dict[str, float]:
    """Compare the kernel with the definition in float32.

    Args:
        arrays: value, locations, weights and the gradient of the output.
        levels: the height and width of each level.
        definition: the operation in plain MLX, to compare with.

    Returns:
        For the output and each gradient, the largest difference, relative to the largest magnitude.
    """

    def bound(attend: Attention) -> Attention:
        return lambda value, locations, weights: attend(value, levels, locations, weights)

    names = ("output", "gradient of value", "gradient of locations", "gradient of weights")
    kernel, plain = bound(deformable_attention_kernel), bound(definition)
    return comparison.differences(kernel, plain, arrays[:3], arrays[3:], names)

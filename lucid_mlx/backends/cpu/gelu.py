"""The exact GELU from a rational function."""

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_mlx.backends.cpu.softmax import exp_of_negative

# Minimax fit of (Phi(x) - 1/2) / x by a rational function of x^2 on [0, 5.3^2], weighted so that the error of
# x * Phi(x) is even. At the limit float32 rounds it to 1/2 exactly, so that beyond Phi is 0 or 1. The GELU's error
# is below 1.5e-6, or 2e-7 |x| if that is more.
_LIMIT = 5.272
_P = (0.398939371, 0.0614028163, 0.00635416061, 0.000449795043, 8.22611946e-06)
_Q = (1.0, 0.32055068, 0.0443944521, 0.00346009643, 0.000163916309, 6.77205207e-07)
_DENSITY = 1 / math.sqrt(2 * math.pi)


def gelu(definition: Callable[..., mx.array], x: mx.array) -> mx.array:
    """Compute `ops.gelu` of float32 numbers; arguments and result as there.

    MLX's CPU backend evaluates erf one element at a time. A rational function, which its compiler turns into one
    vectorized loop, is 20 times faster (without a C++ compiler on the machine, 4 times), and so is its gradient.
    """
    result: mx.array = _gelu(x)
    return result


def _value(x: mx.array) -> mx.array:
    return _times_phi(x, _clip(x))


def _gradient(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    density = _DENSITY * exp_of_negative(-0.5 * mx.square(x))
    return cotangent * (_phi(_clip(x)) + x * density)


_gelu: Any = mx.custom_function(_value)
_gelu.vjp(_gradient)


def _clip(x: mx.array) -> mx.array:
    # Outside of the compiled loops, in which comparisons do not vectorize.
    return mx.minimum(mx.maximum(x, -_LIMIT), _LIMIT)


def _phi_at(clipped: mx.array) -> mx.array:
    t = clipped * clipped
    t2 = t * t
    t4 = t2 * t2
    # Estrin's scheme: the compiler fuses shallow expressions only.
    numerator = (_P[0] + _P[1] * t) + t2 * (_P[2] + _P[3] * t) + t4 * _P[4]
    denominator = (_Q[0] + _Q[1] * t) + t2 * (_Q[2] + _Q[3] * t) + t4 * (_Q[4] + _Q[5] * t)
    return 0.5 + clipped * (numerator / denominator)


_phi = mx.compile(_phi_at)
_times_phi = mx.compile(lambda x, clipped: x * _phi_at(clipped))

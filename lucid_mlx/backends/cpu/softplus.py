"""The softplus and the logistic function from one exponential."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_mlx.backends.cpu.softmax import exp_of_negative

# Minimax fit of log(1 + e) / e on [0, 1]; relative error below 3e-7.
_P = (1.0, -0.499996064, 0.333217324, -0.2486591, 0.192019107, -0.13877011, 0.0808229765, -0.031126276, 0.00563935805)


def softplus_and_sigmoid(
    definition: Callable[..., tuple[mx.array, mx.array]], x: mx.array
) -> tuple[mx.array, mx.array]:
    """Compute `ops.softplus_and_sigmoid` of float32 numbers; arguments and results as there.

    MLX's CPU backend takes exponentials and logarithms one element at a time. Here both results come from one
    exponential, it and the logarithm are polynomials, in vectorized loops: ten times faster. The error is below 5e-6
    of the value, however small that is, down to x = -87, where it stays.
    """
    softplus, sigmoid = _both(x)
    return softplus, sigmoid


def _value(x: mx.array) -> tuple[mx.array, mx.array]:
    e = exp_of_negative(-mx.abs(x))
    return _log1p_polynomial(x, e), _logistic(x, e)


def _gradient(x: mx.array, cotangents: tuple[mx.array, mx.array], outputs: tuple[mx.array, mx.array]) -> mx.array:
    (to_softplus, to_sigmoid), (_, sigmoid) = cotangents, outputs
    return sigmoid * (to_softplus + to_sigmoid * (1.0 - sigmoid))


_both: Any = mx.custom_function(_value)
_both.vjp(_gradient)


@mx.compile
def _logistic(x: mx.array, e: mx.array) -> mx.array:
    return mx.where(x > 0.0, 1.0, e) / (1.0 + e)


@mx.compile
def _log1p_polynomial(x: mx.array, e: mx.array) -> mx.array:
    e2 = e * e
    e4 = e2 * e2
    # Estrin's scheme: the compiler fuses shallow expressions only.
    low = (_P[0] + _P[1] * e) + e2 * (_P[2] + _P[3] * e)
    high = (_P[4] + _P[5] * e) + e2 * (_P[6] + _P[7] * e)
    return mx.where(x > 0.0, x, 0.0) + e * (low + e4 * (high + e4 * _P[8]))

"""Softmax, and exponentials, from a polynomial."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_mlx.backends.cpu.reduction import reduce_rows

LOG2_E = 1.4426950408889634
# Minimax fit of 2^f on [-1/2, 1/2], constant term 1; relative error below 1e-7.
_EXP2 = (0.693146978, 0.240222421, 0.0555073376, 0.00967151324, 0.00132647242)
_LEAST = -87.0  # exp of less is no normal float32


def softmax(definition: Callable[..., mx.array], x: mx.array) -> mx.array:
    """Compute `ops.softmax` of float32 numbers; arguments and result as there.

    MLX's CPU backend takes exponentials one element at a time and adds a row up in one sum. Here 2^n comes from the
    bits of a float and 2^f from a polynomial, in vectorized loops, and long rows are reduced in blocks: 3 to 6 times
    faster (2 times without a C++ compiler on the machine), and on rows of 4096 four times as exact.
    """
    return softmax_of_rows(x)


def softmax_of_rows(x: mx.array) -> mx.array:
    """Return the softmax over the last axis of (..., N) float32 numbers, of the same shape."""
    result: mx.array = _softmax(x)
    return result


def _value(x: mx.array) -> mx.array:
    powers = exp_of_negative(x - reduce_rows(mx.max, x))
    return powers * mx.reciprocal(reduce_rows(mx.sum, powers))


def _gradient(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    # The compiled loops of the value do not fuse when they are differentiated.
    products = cotangent * output
    return products - output * reduce_rows(mx.sum, products)


_softmax: Any = mx.custom_function(_value)
_softmax.vjp(_gradient)


def exp_of_negative(x: mx.array) -> mx.array:
    """Return e^x, of the same shape, for float32 numbers that are not positive; below -87 it stays as it is there."""
    bits, fraction = _split(mx.maximum(x, _LEAST))
    return scaled_power(fraction, mx.stop_gradient(bits.view(mx.float32)))


@mx.compile
def _split(x: mx.array) -> tuple[mx.array, mx.array]:
    """Write e^x as 2^n * 2^f: the bits of the float 2^n, and f in -1/2 to 1/2."""
    y = x * LOG2_E
    n = (y - 0.5).astype(mx.int32)  # rounds, for y <= 0
    return (n + 127) << 23, y - n.astype(mx.float32)


@mx.compile
def scaled_power(f: mx.array, scale: mx.array) -> mx.array:
    """Return scale * 2^f.

    Args:
        f: float32, from -1/2 to 1/2.
        scale: float32.

    Returns:
        Of the same shape.
    """
    f2 = f * f
    return scale * ((1.0 + _EXP2[0] * f) + f2 * ((_EXP2[1] + _EXP2[2] * f) + f2 * (_EXP2[3] + _EXP2[4] * f)))

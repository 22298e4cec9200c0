"""The exact GELU, x times the normal distribution function."""

import mlx.core as mx
import mlx.nn as nn

# Minimax fit of (Phi(x) - 1/2) / x by a rational function of x^2 on [0, 5.3^2], weighted so that the error of
# x * Phi(x) is even. At the limit float32 rounds it to 1/2 exactly, so that beyond Phi is 0 or 1. The GELU's error
# is below 1.5e-6, or 2e-7 |x| if that is more.
_LIMIT = 5.272
_P = (0.398939371, 0.0614028163, 0.00635416061, 0.000449795043, 8.22611946e-06)
_Q = (1.0, 0.32055068, 0.0443944521, 0.00346009643, 0.000163916309, 6.77205207e-07)


def gelu(x: mx.array) -> mx.array:
    """Return x * Phi(x), not its tanh approximation, for an array of any shape.

    MLX's CPU backend evaluates erf one element at a time. There a rational function, which its compiler turns into
    one vectorised loop, is 20 times faster (without a C++ compiler on the machine, 4 times).
    """
    if x.dtype == mx.float32 and mx.default_device().type == mx.DeviceType.cpu:
        # Cut outside of the compiled loop, in which comparisons do not vectorise.
        return _rational(x, mx.minimum(mx.maximum(x, -_LIMIT), _LIMIT))
    return nn.gelu(x)


@mx.compile
def _rational(x: mx.array, clipped: mx.array) -> mx.array:
    t = clipped * clipped
    t2 = t * t
    t4 = t2 * t2
    # Estrin's scheme: the compiler fuses shallow expressions only.
    numerator = (_P[0] + _P[1] * t) + t2 * (_P[2] + _P[3] * t) + t4 * _P[4]
    denominator = (_Q[0] + _Q[1] * t) + t2 * (_Q[2] + _Q[3] * t) + t4 * (_Q[4] + _Q[5] * t)
    return x * (0.5 + clipped * (numerator / denominator))

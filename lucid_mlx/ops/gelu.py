"""The exact GELU."""

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.backends import accelerated


@accelerated
def gelu(x: mx.array) -> mx.array:
    """Return x * Phi(x), Phi the normal distribution function, and not its tanh approximation.

    Args:
        x: of any shape.

    Returns:
        Of the same shape and dtype.
    """
    return nn.gelu(x)

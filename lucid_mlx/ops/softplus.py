"""The softplus, which is the cross entropy of a logit whose label is 0; and its derivative, the logistic function."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def softplus_and_sigmoid(x: mx.array) -> tuple[mx.array, mx.array]:
    """Return log(1 + e^x), and its derivative 1 / (1 + e^-x).

    Args:
        x: of any shape.

    Returns:
        Two arrays of the same shape and dtype.
    """
    return mx.logaddexp(x, mx.zeros((), x.dtype)), mx.sigmoid(x)

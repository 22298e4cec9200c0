"""What transformers do to each token by itself: projection, normalization, the feed-forward network."""

from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends import accelerated

Layer = Callable[[mx.array], mx.array]


@accelerated
def linear(x: mx.array, weight: mx.array, bias: mx.array | None = None) -> mx.array:
    """Return x W^T + b.

    Args:
        x: (..., inputs).
        weight: (outputs, inputs).
        bias: (outputs,); none if None.

    Returns:
        (..., outputs).
    """
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


@accelerated
def layer_norm(x: mx.array, weight: mx.array | None, bias: mx.array | None, eps: float = 1e-5) -> mx.array:
    """Normalize the last axis, then scale and shift it.

    Args:
        x: (..., C).
        weight: (C,); no scale if None.
        bias: (C,); no shift if None.
        eps: added to the variance.

    Returns:
        (..., C), in the dtype of `x`.
    """
    return mx.fast.layer_norm(x, weight, bias, eps)


@accelerated
def feed_forward(
    x: mx.array, linear1: Layer, linear2: Layer, activation: Layer, dropout: Layer | None = None
) -> mx.array:
    """Map each token by two linear layers with an activation between them (Vaswani et al. 2017, section 3.3).

    Args:
        x: (..., C).
        linear1: (..., C) to (..., hidden).
        linear2: (..., hidden) to (..., C).
        activation: such as ReLU.
        dropout: of the hidden layer in training; none if None.

    Returns:
        (..., C).
    """
    hidden = activation(linear1(x))
    return linear2(hidden if dropout is None else dropout(hidden))

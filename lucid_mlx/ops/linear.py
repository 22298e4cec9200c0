"""What a transformer does to each token by itself: projection, normalization, the feed-forward network."""

import math
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

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


class Linear(nn.Linear):
    """A linear layer that computes `linear`, which backends may accelerate."""

    def initialize_xavier(self, gain: float = 1.0, stacked: int = 1) -> None:
        """Draw the weights uniformly (Glorot and Bengio 2010), and set the bias to zero.

        Args:
            gain: what the limit is multiplied with.
            stacked: layers that share one matrix in the reference, where it is so many times as tall.
        """
        outputs, inputs = self.weight.shape
        limit = gain * math.sqrt(6.0 / (inputs + outputs * stacked))
        self.weight = mx.random.uniform(-limit, limit, self.weight.shape)
        if "bias" in self:
            self.bias = mx.zeros_like(self.bias)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (..., inputs) to (..., outputs)."""
        return linear(x, self.weight, self.get("bias"))


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
def add_layer_norm(
    x: mx.array,
    y: mx.array,
    weight: mx.array | None,
    bias: mx.array | None,
    eps: float = 1e-5,
    keep_sum: bool = True,
) -> tuple[mx.array, ...]:
    """Add two arrays and normalize the sum.

    Args:
        x: (..., C).
        y: of the same shape.
        weight: as of `layer_norm`.
        bias: as of `layer_norm`.
        eps: as of `layer_norm`.
        keep_sum: return the sum too.

    Returns:
        The sum, if it is to be kept, and the normalized sum, of the shape of `x` each.
    """
    total = x + y
    normalized = layer_norm(total, weight, bias, eps)
    return (total, normalized) if keep_sum else (normalized,)


class LayerNorm(nn.LayerNorm):
    """Layer normalization that computes `layer_norm`, which backends may accelerate."""

    def __call__(self, x: mx.array) -> mx.array:
        """Normalize (..., C)."""
        return layer_norm(x, self.get("weight"), self.get("bias"), self.eps)

    def of_sum(self, x: mx.array, y: mx.array) -> mx.array:
        """Normalize a sum.

        Args:
            x: (..., C).
            y: of the same shape.

        Returns:
            (..., C).
        """
        return add_layer_norm(x, y, self.get("weight"), self.get("bias"), self.eps, False)[0]

    def with_sum(self, x: mx.array, y: mx.array) -> tuple[mx.array, mx.array]:
        """Add, and normalize the sum.

        Args:
            x: (..., C).
            y: of the same shape.

        Returns:
            The sum and the normalized sum, (..., C) each.
        """
        total, normalized = add_layer_norm(x, y, self.get("weight"), self.get("bias"), self.eps)
        return total, normalized


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


def initialize_normal(module: nn.Module, std: float) -> None:
    """Draw the weights of all linear layers and convolutions of a module, and set their biases to zero.

    Args:
        module: changed in place.
        std: deviation of the weights.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.weight = mx.random.normal(layer.weight.shape, scale=std)
            if "bias" in layer:
                layer.bias = mx.zeros_like(layer.bias)

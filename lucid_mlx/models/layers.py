"""Small layers that MLX's `nn` lacks or that the reference defines differently."""

import math
from collections.abc import Sequence
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lucid_mlx.ops import group_norm, in_parts, softmax


class GroupNorm(nn.Module):
    """Group normalisation with PyTorch's grouping; parameters `weight` and `bias`."""

    def __init__(self, groups: int, channels: int):
        super().__init__()
        self.groups = groups
        self.weight = mx.ones(channels)
        self.bias = mx.zeros(channels)

    def __call__(self, x: mx.array) -> mx.array:
        """Normalise (B, H, W, C)."""
        return group_norm(x, self.weight, self.bias, self.groups)


class BatchNorm(nn.BatchNorm):
    """Batch normalisation; in inference a single scale and shift by the running statistics."""

    fixed: tuple[str, ...] = ("running_mean", "running_var")
    """The parameters that are never trainable."""

    @property
    def _no_grad(self) -> set[str]:
        # `unfreeze` on a module above empties this set, so what is fixed comes back at each look.
        self._frozen.update(self.fixed)
        return self._frozen

    @_no_grad.setter
    def _no_grad(self, names: set[str]) -> None:
        self._frozen = names

    def __call__(self, x: mx.array) -> mx.array:
        """Normalise (B, H, W, C)."""
        if self.training:
            return super().__call__(x)
        scale, shift = self.affine()
        return x * scale + shift

    def affine(self) -> tuple[mx.array, mx.array]:
        """Return the scale and the shift of inference, (C,) each, in the dtype of `weight`."""
        dtype = self.weight.dtype
        scale = self.weight * mx.rsqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return scale.astype(dtype), shift.astype(dtype)


class FrozenBatchNorm(BatchNorm):
    """Batch normalisation that never trains: running statistics always, scale and shift fixed."""

    fixed = ("weight", "bias", "running_mean", "running_var")

    def __init__(self, channels: int):
        super().__init__(channels)
        self._training = False

    def _set_training_mode(self, mode: bool) -> None:
        """Stay in inference."""


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a residual branch for a random part of the batch (Huang et al. 2016)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def __call__(self, x: mx.array) -> mx.array:
        """Drop or rescale each of the B branches in (B, ...)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = mx.random.bernoulli(1.0 - self.rate, (x.shape[0], *[1] * (x.ndim - 1)))
        return x * (keep / (1.0 - self.rate)).astype(x.dtype)


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int):
        super().__init__()
        sizes = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = [nn.Linear(n, m) for n, m in pairwise(sizes)]

    def __call__(self, x: mx.array) -> mx.array:
        """Map (..., inputs) to (..., outputs)."""
        for layer in self.layers[:-1]:
            x = nn.relu(layer(x))
        return self.layers[-1](x)


def project(layers: Sequence[nn.Linear], x: mx.array) -> list[mx.array]:
    """Apply several linear layers with biases to the same (..., inputs): in one product, unless some are quantised."""
    if not layers or any(type(layer) is not nn.Linear for layer in layers):
        return [layer(x) for layer in layers]
    weight = mx.concatenate([layer.weight for layer in layers])
    bias = mx.concatenate([layer.bias for layer in layers])
    ends = np.cumsum([len(layer.bias) for layer in layers])[:-1].tolist()
    product = in_parts(lambda x: mx.addmm(bias, x, weight.T), x, axis=-2)
    return list(mx.split(product, ends, axis=-1))


class Attention(nn.Module):
    """Multi-head attention of queries over a memory, each with its own projection.

    Whoever calls projects the keys and values: layers that attend to the same memory do so together.
    """

    def __init__(self, dims: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.query_projection = nn.Linear(dims, dims)
        self.key_projection = nn.Linear(dims, dims)
        self.value_projection = nn.Linear(dims, dims)
        self.output_projection = nn.Linear(dims, dims)
        self.dropout = nn.Dropout(dropout)

    def __call__(self, queries: mx.array, keys: mx.array, values: mx.array, attend: mx.array | None = None) -> mx.array:
        """Attend.

        Args:
            queries: (B, Q, C), projected as the others.
            keys: (B, S, C).
            values: (B, S, C).
            attend: (B, Q, S) bool, True where a query may look; everywhere if None.

        Returns:
            (B, Q, C).
        """

        def mix(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
            return self.dropout(self._probabilities(q, k, attend)) @ v

        mixed = in_parts(mix, *map(self._split, (queries, keys, values)), axis=1)
        return self.output_projection(mixed.transpose(0, 2, 1, 3).reshape(queries.shape))

    def probabilities(self, queries: mx.array, keys: mx.array, attend: mx.array | None = None) -> mx.array:
        """Return the attention weights that `__call__` uses, (B, heads, Q, S)."""
        return self._probabilities(self._split(queries), self._split(keys), attend)

    def _probabilities(self, queries: mx.array, keys: mx.array, attend: mx.array | None) -> mx.array:
        """Return those of some heads, whose queries and keys are (B, heads, N, C)."""
        scores = (queries / math.sqrt(queries.shape[-1])) @ keys.swapaxes(-1, -2)
        if attend is not None:
            scores = mx.where(attend[:, None], scores, mx.finfo(scores.dtype).min)
        return softmax(scores)

    def _split(self, x: mx.array) -> mx.array:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        batch, count, dims = x.shape
        return x.reshape(batch, count, self.heads, dims // self.heads).transpose(0, 2, 1, 3)

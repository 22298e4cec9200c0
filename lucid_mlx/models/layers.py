"""The layers that both decoders and the backbones are made of."""

from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.ops import attention, attention_weights, group_norm, layer_norm, linear


class Linear(nn.Linear):
    """A linear layer."""

    def __call__(self, x: mx.array) -> mx.array:
        """Map (..., inputs) to (..., outputs)."""
        return linear(x, self.weight, self.get("bias"))


class LayerNorm(nn.LayerNorm):
    """Layer normalization."""

    def __call__(self, x: mx.array) -> mx.array:
        """Normalize (..., C)."""
        return layer_norm(x, self.get("weight"), self.get("bias"), self.eps)


class GroupNorm(nn.Module):
    """Group normalization with PyTorch's grouping; parameters `weight` and `bias`."""

    def __init__(self, groups: int, channels: int):
        super().__init__()
        self.groups = groups
        self.weight = mx.ones(channels)
        self.bias = mx.zeros(channels)

    def __call__(self, x: mx.array) -> mx.array:
        """Normalize (B, H, W, C)."""
        return group_norm(x, self.weight, self.bias, self.groups)


class BatchNorm(nn.BatchNorm):
    """Batch normalization; in inference a single scale and shift by the running statistics."""

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
        """Normalize (B, H, W, C)."""
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
    """Batch normalization that never trains: running statistics always, scale and shift fixed."""

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
        self.layers = [Linear(n, m) for n, m in pairwise(sizes)]

    def __call__(self, x: mx.array) -> mx.array:
        """Map (..., inputs) to (..., outputs)."""
        for layer in self.layers[:-1]:
            x = nn.relu(layer(x))
        return self.layers[-1](x)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, dims: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.query_projection = Linear(dims, dims)
        self.key_projection = Linear(dims, dims)
        self.value_projection = Linear(dims, dims)
        self.output_projection = Linear(dims, dims)
        self.dropout = nn.Dropout(dropout)

    def __call__(
        self, query: mx.array, key: mx.array, value: mx.array, attention_mask: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Attend.

        Args:
            query: (B, Q, C).
            key: (B, S, C).
            value: (B, S, C).
            attention_mask: (B, Q, S) bool, True where a query attends; everywhere if None.

        Returns:
            The mixed values, (B, Q, C), and the attention weights, (B, heads, Q, S), computed only if they are used.
        """
        q = self._split(self.query_projection(query))
        k = self._split(self.key_projection(key))
        v = self._split(self.value_projection(value))
        mixed = attention(q, k, v, attention_mask, self.dropout)
        output = self.output_projection(mixed.swapaxes(1, 2).reshape(query.shape))
        return output, attention_weights(q, k, attention_mask)

    def _split(self, x: mx.array) -> mx.array:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        batch, count, dims = x.shape
        return x.reshape(batch, count, self.heads, dims // self.heads).swapaxes(1, 2)

"""The transformer decoder with masked attention (Mask2Former, Cheng et al., CVPR 2022, section 3.2.1)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.models.vision.mask2former.config import NUM_LEVELS, Mask2FormerConfig
from lucid_mlx.ops import (
    LayerNorm,
    Linear,
    attention,
    attention_weights,
    feed_forward,
    gelu,
    matmul,
    resize_map,
    sine_positions,
)

_ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {"relu": nn.relu, "gelu": gelu, "silu": nn.silu}


@dataclass
class DecoderOutput:
    """What the decoder predicts, first from the learned queries, then after each layer.

    All lists have `decoder_layers` entries but `attentions`, which has one less. Nothing in them is computed
    before it is used.
    """

    class_logits: list[mx.array]
    """(B, Q, num_labels + 1), "no object" last."""
    mask_logits: list[mx.array]
    """(B, Q, H / common_stride, W / common_stride); of clips (B, Q, T, H / common_stride, W / common_stride)."""
    states: list[mx.array]
    """(B, Q, C), normalized: what the heads see."""
    hidden: list[mx.array]
    """(B, Q, C), before that norm."""
    attentions: list[mx.array]
    """(B, heads, Q, Q), the self-attention weights of each layer."""


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int):
        super().__init__()
        sizes = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = [Linear(n, m) for n, m in pairwise(sizes)]

    def initialize(self) -> None:
        """Draw the uniform weights and biases of torch's `nn.Linear`, which the reference leaves in the mask head."""
        for layer in self.layers:
            limit = 1.0 / math.sqrt(layer.weight.shape[1])
            layer.weight = mx.random.uniform(-limit, limit, layer.weight.shape)
            layer.bias = mx.random.uniform(-limit, limit, layer.bias.shape)

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

    def initialize(self, gain: float, stacked: int) -> None:
        """Draw the initial weights; arguments as of `Linear.initialize_xavier`."""
        for projection in (self.query_projection, self.key_projection, self.value_projection):
            projection.initialize_xavier(gain, stacked)
        self.output_projection.initialize_xavier(gain)

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


class DecoderLayer(nn.Module):
    """Masked cross-attention, then self-attention, then a feed-forward network, each with a residual."""

    def __init__(self, config: Mask2FormerConfig):
        super().__init__()
        dims, heads = config.hidden_dim, config.num_attention_heads
        self.pre_norm = config.pre_norm
        self.cross_attention = Attention(dims, heads, config.dropout)
        self.cross_attention_norm = LayerNorm(dims)
        self.self_attention = Attention(dims, heads, config.dropout)
        self.self_attention_norm = LayerNorm(dims)
        self.linear1 = Linear(dims, config.dim_feedforward)
        self.linear2 = Linear(config.dim_feedforward, dims)
        self.feedforward_norm = LayerNorm(dims)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = config.activation_function  # a name: compiled functions cannot be copied

    def initialize(self, gain: float) -> None:
        """Draw the initial weights by Xavier's rule."""
        # The reference keeps the projections of the cross-attention in one matrix, three times as tall.
        self.cross_attention.initialize(gain, stacked=3)
        self.self_attention.initialize(gain, stacked=1)
        self.linear1.initialize_xavier(gain)
        self.linear2.initialize_xavier(gain)

    def __call__(
        self,
        x: mx.array,
        query_positions: mx.array,
        memory: mx.array,
        memory_positions: mx.array,
        attention_mask: mx.array,
    ) -> tuple[mx.array, mx.array]:
        """Refine the queries.

        Args:
            x: (B, Q, C).
            query_positions: (Q, C), added to the queries of both attentions, and to the keys of the self-attention.
            memory: (B, S, C), one level of the pixel decoder.
            memory_positions: (S, C), added to the keys of the cross-attention.
            attention_mask: (B, Q, S) bool, True where a query attends.

        Returns:
            The refined (B, Q, C), and the self-attention weights, (B, heads, Q, Q), computed only if they are used.
        """
        y = self._before(self.cross_attention_norm, x)
        y, _ = self.cross_attention(y + query_positions, memory + memory_positions, memory, attention_mask)
        x = self._add(self.cross_attention_norm, x, self.dropout(y))

        y = self._before(self.self_attention_norm, x)
        y, weights = self.self_attention(y + query_positions, y + query_positions, y)
        x = self._add(self.self_attention_norm, x, self.dropout(y))

        y = self._before(self.feedforward_norm, x)
        y = feed_forward(y, self.linear1, self.linear2, _ACTIVATIONS[self.activation], self.dropout)
        x = self._add(self.feedforward_norm, x, self.dropout(y))
        return x, weights

    def _before(self, norm: LayerNorm, x: mx.array) -> mx.array:
        """Normalize what a part reads, if norms come before the parts."""
        return norm(x) if self.pre_norm else x

    def _add(self, norm: LayerNorm, x: mx.array, y: mx.array) -> mx.array:
        """Add what a part gives to its residual, and normalize the sum if norms come after the parts."""
        return x + y if self.pre_norm else norm.of_sum(x, y)


class TransformerDecoder(nn.Module):
    """Learned queries that attend, level by level, where their previous mask was."""

    def __init__(self, config: Mask2FormerConfig):
        super().__init__()
        dims = config.hidden_dim
        self.query_features = mx.zeros((config.num_queries, dims))
        self.query_positions = mx.zeros((config.num_queries, dims))
        self.level_embedding = mx.zeros((NUM_LEVELS, dims))
        self.input_projections: list[Linear] = []
        if config.feature_size != dims or config.enforce_input_projection:
            self.input_projections = [Linear(config.feature_size, dims) for _ in range(NUM_LEVELS)]
        self.layers = [DecoderLayer(config) for _ in range(config.decoder_layers - 1)]
        self.norm = LayerNorm(dims)
        self.class_head = Linear(dims, config.num_labels + 1)
        self.mask_head = MLP(dims, dims, config.mask_feature_size, layers=3)

    def initialize(self, gain: float) -> None:
        """Draw what `initialize_normal` does not, after it, as the reference does (transformers 5, `_init_weights`)."""
        for name in ("query_features", "query_positions", "level_embedding"):
            setattr(self, name, mx.random.normal(self[name].shape))
        for projection in self.input_projections:
            projection.initialize_xavier(gain)
        for layer in self.layers:
            layer.initialize(gain)
        self.mask_head.initialize()

    def __call__(
        self, mask_features: mx.array, memories: Sequence[mx.array], frames: int | None = None
    ) -> DecoderOutput:
        """Predict classes and masks, of images or of clips: a query of a clip attends to all of its frames at once.

        Args:
            mask_features: (B, H / common_stride, W / common_stride, mask_feature_size); of clips (B * T, ...).
            memories: three maps (B, H / stride, W / stride, feature_size), strides 32, 16 and 8; of clips (B * T, ...).
            frames: T, the frames of each clip, which follow each other in the batch; None for images.

        Returns:
            All predictions and states.
        """
        images, height, width, _ = mask_features.shape
        batch = images if frames is None else images // frames
        shape = (batch, -1, height, width) if frames is None else (batch, -1, frames, height, width)
        levels = [self._level(index, memory, batch, frames) for index, memory in enumerate(memories)]
        # The reference resizes the mask of every query in every layer. Resizing is linear, so resizing the features
        # once gives the same.
        level_features = [_planes(resize_map(mask_features, (x.shape[1], x.shape[2])), batch) for x in memories]
        features = _planes(mask_features, batch)

        x = mx.broadcast_to(self.query_features, (batch, *self.query_features.shape))
        output = DecoderOutput([], [], [], [], [])
        for index in range(len(self.layers) + 1):
            state = self.norm(x)
            mask_embeddings = self.mask_head(state)
            output.hidden.append(x)
            output.states.append(state)
            output.class_logits.append(self.class_head(state))
            output.mask_logits.append(matmul(mask_embeddings, features).reshape(shape))
            if index < len(self.layers):
                level = index % NUM_LEVELS
                mask = attention_mask(mask_embeddings @ level_features[level])
                x, weights = self.layers[index](x, self.query_positions, *levels[level], mask)
                output.attentions.append(weights)
        return output

    def _level(self, index: int, memory: mx.array, batch: int, frames: int | None) -> tuple[mx.array, mx.array]:
        """Return a memory as the layers read it, (B, S, C), and its positions, (S, C)."""
        _, height, width, channels = memory.shape
        flat = memory.reshape(batch, -1, channels)
        if self.input_projections:
            flat = self.input_projections[index](flat)
        positions = sine_positions(height, width, flat.shape[-1], flat.dtype, frames)
        return flat + self.level_embedding[index], positions


def attention_mask(logits: mx.array) -> mx.array:
    """Return where each query attends: where its mask is more likely than not, or everywhere if that is nowhere.

    Args:
        logits: (B, Q, S) mask logits at the size of the memory; no gradient passes.

    Returns:
        (B, Q, S) bool, True to attend.
    """
    inside = mx.stop_gradient(logits) >= 0.0
    return inside | ~inside.any(axis=-1, keepdims=True)


def _planes(features: mx.array, batch: int) -> mx.array:
    """(B, H, W, C) -> (B, C, H * W); of clips (B * T, H, W, C) -> (B, C, T * H * W)."""
    return features.reshape(batch, -1, features.shape[-1]).swapaxes(1, 2)

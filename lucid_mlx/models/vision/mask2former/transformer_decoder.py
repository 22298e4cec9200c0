"""The transformer decoder with masked attention (Mask2Former, Cheng et al., CVPR 2022, section 3.2.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.models.layers import MLP, Attention, project
from lucid_mlx.models.vision.mask2former.config import NUM_LEVELS, Mask2FormerConfig
from lucid_mlx.ops import gelu, in_parts, resize_map, sine_positions

_ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {"relu": nn.relu, "gelu": gelu, "silu": nn.silu}


@dataclass
class DecoderOutput:
    """What the decoder predicts, first from the queries as learnt, then after each layer.

    All lists have `decoder_layers` entries but `attentions`, which has one less. Nothing in them is computed
    before it is used.
    """

    class_logits: list[mx.array]
    """(B, Q, num_labels + 1), "no object" last."""
    mask_logits: list[mx.array]
    """(B, Q, H / 4, W / 4)."""
    states: list[mx.array]
    """(B, Q, C), normalised: what the heads see."""
    hidden: list[mx.array]
    """(B, Q, C), before that norm."""
    attentions: list[mx.array]
    """(B, heads, Q, Q), the self-attention weights of each layer."""


class DecoderLayer(nn.Module):
    """Masked cross-attention, then self-attention, then a feed-forward part, each with a residual."""

    def __init__(self, config: Mask2FormerConfig):
        super().__init__()
        dims, heads = config.hidden_dim, config.num_attention_heads
        self.pre_norm = config.pre_norm
        self.cross_attention = Attention(dims, heads, config.dropout)
        self.cross_attention_norm = nn.LayerNorm(dims)
        self.self_attention = Attention(dims, heads, config.dropout)
        self.self_attention_norm = nn.LayerNorm(dims)
        self.linear1 = nn.Linear(dims, config.dim_feedforward)
        self.linear2 = nn.Linear(config.dim_feedforward, dims)
        self.feedforward_norm = nn.LayerNorm(dims)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = config.activation_function  # a name: compiled functions cannot be copied

    def __call__(
        self, x: mx.array, query_positions: mx.array, keys: mx.array, values: mx.array, attend: mx.array
    ) -> tuple[mx.array, mx.array]:
        """Refine the queries.

        Args:
            x: (B, Q, C).
            query_positions: (Q, C), added to the queries of both attentions.
            keys: (B, S, C), a memory with its positions, projected for the cross-attention.
            values: (B, S, C), the memory, projected for it.
            attend: (B, Q, S) bool, True where a query may look.

        Returns:
            The refined (B, Q, C), and the self-attention weights, (B, heads, Q, Q), computed only if used.
        """
        crossing, looking = self.cross_attention, self.self_attention

        def cross(y: mx.array) -> mx.array:
            return crossing(crossing.query_projection(y + query_positions), keys, values, attend)

        def among(y: mx.array) -> mx.array:
            own_queries, own_keys = project((looking.query_projection, looking.key_projection), y + query_positions)
            probabilities.append(looking.probabilities(own_queries, own_keys))
            return looking(own_queries, own_keys, looking.value_projection(y))

        def feedforward(y: mx.array) -> mx.array:
            return self.linear2(self.dropout(_ACTIVATIONS[self.activation](self.linear1(y))))

        probabilities: list[mx.array] = []
        x = self._residual(x, cross, self.cross_attention_norm)
        x = self._residual(x, among, self.self_attention_norm)
        x = self._residual(x, feedforward, self.feedforward_norm)
        return x, probabilities[0]

    def _residual(self, x: mx.array, part: Callable[[mx.array], mx.array], norm: nn.LayerNorm) -> mx.array:
        if self.pre_norm:
            return x + self.dropout(part(norm(x)))
        return norm(x + self.dropout(part(x)))


class TransformerDecoder(nn.Module):
    """Learnt queries that look, level by level, where their previous mask was."""

    def __init__(self, config: Mask2FormerConfig):
        super().__init__()
        dims = config.hidden_dim
        self.query_features = mx.zeros((config.num_queries, dims))
        self.query_positions = mx.zeros((config.num_queries, dims))
        self.level_embedding = mx.zeros((NUM_LEVELS, dims))
        self.input_projections: list[nn.Linear] = []
        if config.feature_size != dims or config.enforce_input_projection:
            self.input_projections = [nn.Linear(config.feature_size, dims) for _ in range(NUM_LEVELS)]
        self.layers = [DecoderLayer(config) for _ in range(config.decoder_layers - 1)]
        self.norm = nn.LayerNorm(dims)
        self.class_head = nn.Linear(dims, config.num_labels + 1)
        self.mask_head = MLP(dims, dims, config.mask_feature_size, layers=3)

    def __call__(self, mask_features: mx.array, memories: list[mx.array]) -> DecoderOutput:
        """Predict classes and masks.

        Args:
            mask_features: (B, H / 4, W / 4, mask_feature_size).
            memories: three maps (B, H / stride, W / stride, feature_size), strides 32, 16 and 8.
        """
        batch = mask_features.shape[0]
        keys: list[list[mx.array]] = []
        values: list[list[mx.array]] = []
        level_features: list[mx.array] = []
        for level, memory in enumerate(memories):
            size = (memory.shape[1], memory.shape[2])
            flat = memory.reshape(batch, size[0] * size[1], -1)
            if self.input_projections:
                flat = self.input_projections[level](flat)
            flat = flat + self.level_embedding[level]
            # Every third layer looks at this level: its keys for all of them are one product, and so are its values.
            crossing = [layer.cross_attention for layer in self.layers[level::NUM_LEVELS]]
            positions = sine_positions(*size, flat.shape[-1]).astype(flat.dtype)
            keys.append(project([attention.key_projection for attention in crossing], flat + positions))
            values.append(project([attention.value_projection for attention in crossing], flat))
            # The reference resizes the mask of every query in every layer. Resizing is linear, so resizing the
            # features once gives the same.
            level_features.append(_planes(resize_map(mask_features, size)))
        features = _planes(mask_features)

        x = mx.broadcast_to(self.query_features, (batch, *self.query_features.shape))
        output = DecoderOutput([], [], [], [], [])
        for index in range(len(self.layers) + 1):
            state = self.norm(x)
            masks = self.mask_head(state)
            output.hidden.append(x)
            output.states.append(state)
            output.class_logits.append(self.class_head(state))
            logits = in_parts(partial(mx.matmul, masks), features, axis=2)
            output.mask_logits.append(logits.reshape(batch, -1, *mask_features.shape[1:3]))
            if index < len(self.layers):
                turn, level = divmod(index, NUM_LEVELS)
                attend = attention_mask(masks @ level_features[level])
                x, attention = self.layers[index](
                    x, self.query_positions, keys[level][turn], values[level][turn], attend
                )
                output.attentions.append(attention)
        return output


def attention_mask(logits: mx.array) -> mx.array:
    """Return where each query looks: where its mask is more likely than not, or everywhere if that is nowhere.

    Args:
        logits: (B, Q, S) mask logits at the size of the memory; no gradient passes.

    Returns:
        (B, Q, S) bool, True to attend.
    """
    inside = mx.stop_gradient(logits) >= 0.0
    return inside | ~inside.any(axis=-1, keepdims=True)


def _planes(features: mx.array) -> mx.array:
    """(B, H, W, C) -> (B, C, H * W)."""
    return features.reshape(features.shape[0], -1, features.shape[-1]).swapaxes(1, 2)

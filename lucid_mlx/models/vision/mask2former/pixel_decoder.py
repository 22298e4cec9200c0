"""The pixel decoder: multi-scale deformable attention over three maps, then a feature pyramid up to stride 4.

Mask2Former (Cheng et al., CVPR 2022), section 3.2.2; the encoder is Deformable DETR's (Zhu et al., ICLR 2021).
"""

import math
from functools import lru_cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lucid_mlx.models.vision.mask2former.config import GROUPS, NUM_LEVELS, Mask2FormerConfig
from lucid_mlx.ops import (
    GroupNorm,
    LayerNorm,
    Linear,
    conv2d,
    feed_forward,
    multi_scale_deformable_attention,
    resize_map,
    sine_positions,
    softmax,
)

Levels = list[tuple[int, int]]

POINTS = 4  # sampling points of each head on each level


@lru_cache(maxsize=32)
def reference_points(levels: tuple[tuple[int, int], ...]) -> mx.array:
    """Return the center of every pixel of every level as (x, y) in 0 to 1, (S, 1, 1, 1, 2) float32."""
    centers = []
    for height, width in levels:
        y, x = np.mgrid[:height, :width]
        centers.append(np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1).reshape(-1, 2))
    return mx.array(np.concatenate(centers).astype(np.float32)[:, None, None, None])


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention: each pixel attends to a few points around itself on every level."""

    def __init__(self, dims: int, heads: int):
        super().__init__()
        self.heads = heads
        self.sampling_offsets = Linear(dims, heads * NUM_LEVELS * POINTS * 2)
        self.attention_weights = Linear(dims, heads * NUM_LEVELS * POINTS)
        self.value_projection = Linear(dims, dims)
        self.output_projection = Linear(dims, dims)

    def initialize(self) -> None:
        """Let heads look in directions of their own, points ever farther, with equal weights (Deformable DETR, A.4)."""
        angles = mx.arange(self.heads) * (2.0 * math.pi / self.heads)
        directions = mx.stack([mx.cos(angles), mx.sin(angles)], axis=-1)
        directions = directions / mx.abs(directions).max(axis=-1, keepdims=True)
        steps = mx.arange(1, POINTS + 1)[:, None]
        offsets = mx.broadcast_to(directions[:, None, None] * steps, (self.heads, NUM_LEVELS, POINTS, 2))
        self.sampling_offsets.weight = mx.zeros_like(self.sampling_offsets.weight)
        self.sampling_offsets.bias = offsets.reshape(-1)
        self.attention_weights.weight = mx.zeros_like(self.attention_weights.weight)
        self.value_projection.initialize_xavier()
        self.output_projection.initialize_xavier()

    def __call__(self, x: mx.array, positions: mx.array, levels: Levels) -> mx.array:
        """Attend.

        Args:
            x: (B, S, C), the pixels of all levels: queries and memory in one.
            positions: (S, C), added to the queries.
            levels: the height and width of each level.

        Returns:
            (B, S, C).
        """
        batch, pixels, dims = x.shape
        samples = (batch, pixels, self.heads, NUM_LEVELS, POINTS)
        query = x + positions
        value = self.value_projection(x).reshape(batch, pixels, self.heads, dims // self.heads)
        # Locations stay float32: in half precision neighboring pixels of a large map would coincide.
        offsets = self.sampling_offsets(query).reshape(*samples, 2).astype(mx.float32)
        sizes = mx.array([[width, height] for height, width in levels], mx.float32)
        locations = reference_points(tuple(levels)) + offsets / sizes[:, None]
        logits = self.attention_weights(query).reshape(batch, pixels, self.heads, -1)
        weights = softmax(logits).reshape(samples)
        return self.output_projection(multi_scale_deformable_attention(value, levels, locations, weights))


class EncoderLayer(nn.Module):
    """Deformable attention and a feed-forward network, each with a residual and a norm after it."""

    def __init__(self, config: Mask2FormerConfig):
        super().__init__()
        dims = config.feature_size
        self.attention = DeformableAttention(dims, config.num_attention_heads)
        self.attention_norm = LayerNorm(dims)
        self.linear1 = Linear(dims, config.encoder_feedforward_dim)
        self.linear2 = Linear(config.encoder_feedforward_dim, dims)
        self.feedforward_norm = LayerNorm(dims)
        self.dropout = nn.Dropout(config.dropout)

    def __call__(self, x: mx.array, positions: mx.array, levels: Levels) -> mx.array:
        """Map (B, S, C), the pixels of all levels, to the same shape; arguments as of `DeformableAttention`."""
        x = self.attention_norm.of_sum(x, self.dropout(self.attention(x, positions, levels)))
        hidden = feed_forward(x, self.linear1, self.linear2, nn.relu, self.dropout)
        return self.feedforward_norm.of_sum(x, self.dropout(hidden))


class Projection(nn.Module):
    """A 1x1 convolution, as a product, and group normalization."""

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__()
        self.linear = Linear(inputs, outputs, bias=bias)
        self.norm = GroupNorm(GROUPS, outputs)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, inputs) to (B, H, W, outputs)."""
        return self.norm(self.linear(x))


class PyramidOutput(nn.Module):
    """A 3x3 convolution, group normalization and ReLU, after maps of two strides were added."""

    def __init__(self, dims: int):
        super().__init__()
        self.conv = nn.Conv2d(dims, dims, 3, padding=1, bias=False)
        self.norm = GroupNorm(GROUPS, dims)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, C) to the same shape."""
        return nn.relu(self.norm(conv2d(x, self.conv.weight, padding=1)))


class PixelDecoder(nn.Module):
    """From the backbone's maps to three memories and the features that masks are made of.

    Args:
        config: the network's configuration.
        channels: widths of the backbone's four maps.
    """

    def __init__(self, config: Mask2FormerConfig, channels: tuple[int, ...]):
        super().__init__()
        dims = config.feature_size
        self.level_embedding = mx.zeros((NUM_LEVELS, dims))
        # Levels run from stride 32 to stride 8 here and everywhere after.
        self.input_projections = [Projection(width, dims, bias=True) for width in channels[:0:-1]]
        self.layers = [EncoderLayer(config) for _ in range(config.encoder_layers)]
        self.has_stride_4 = config.common_stride == 4
        if self.has_stride_4:
            self.lateral = Projection(channels[0], dims, bias=False)
            self.output = PyramidOutput(dims)
        self.mask_projection = Linear(dims, config.mask_feature_size)

    def initialize(self) -> None:
        """Draw what `initialize_normal` does not, after it, as the reference does (transformers 5, `_init_weights`)."""
        self.level_embedding = mx.random.normal(self.level_embedding.shape)
        for layer in self.layers:
            layer.attention.initialize()

    def __call__(self, maps: list[mx.array]) -> tuple[mx.array, list[mx.array]]:
        """Decode.

        Args:
            maps: the backbone's four maps, (B, H / stride, W / stride, channels[i]), stride 4 first.

        Returns:
            The mask features, (B, H / common_stride, W / common_stride, mask_feature_size); and the three
            memories, (B, H / stride, W / stride, feature_size), strides 32, 16 and 8.
        """
        projected = [projection(x) for projection, x in zip(self.input_projections, maps[:0:-1], strict=True)]
        levels = [(x.shape[1], x.shape[2]) for x in projected]
        batch, _, _, dims = projected[0].shape
        x = mx.concatenate([level.reshape(batch, -1, dims) for level in projected], axis=1)
        positions = mx.concatenate(
            [sine_positions(*size, dims, x.dtype) + self.level_embedding[level] for level, size in enumerate(levels)]
        )
        for layer in self.layers:
            x = layer(x, positions, levels)

        ends = np.cumsum([height * width for height, width in levels])[:-1].tolist()
        memories = [
            memory.reshape(batch, *size, dims) for memory, size in zip(mx.split(x, ends, axis=1), levels, strict=True)
        ]
        finest = memories[-1]
        if self.has_stride_4:
            lateral = self.lateral(maps[0])
            finest = self.output(lateral + resize_map(finest, (lateral.shape[1], lateral.shape[2])))
        return self.mask_projection(finest), memories

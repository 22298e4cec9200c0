"""Initial weights of everything behind the backbone, after the reference (transformers 5, `_init_weights`)."""

import math

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.models.layers import MLP
from lucid_mlx.models.vision.mask2former.config import NUM_LEVELS, Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.pixel_decoder import POINTS, DeformableAttention, PixelDecoder
from lucid_mlx.models.vision.mask2former.transformer_decoder import DecoderLayer, TransformerDecoder


def initialize(pixel_decoder: PixelDecoder, transformer_decoder: TransformerDecoder, config: Mask2FormerConfig) -> None:
    """Draw the initial weights of both decoders, in place. Norms keep their ones and zeros."""
    for module in [*pixel_decoder.modules(), *transformer_decoder.modules()]:
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight = mx.random.normal(module.weight.shape, scale=config.init_std)
            if "bias" in module:
                module.bias = mx.zeros_like(module.bias)

    pixel_decoder.level_embedding = mx.random.normal(pixel_decoder.level_embedding.shape)
    for encoder_layer in pixel_decoder.layers:
        _deformable_attention(encoder_layer.attention)

    for name in ("query_features", "query_positions", "level_embedding"):
        setattr(transformer_decoder, name, mx.random.normal(transformer_decoder[name].shape))
    for projection in transformer_decoder.input_projections:
        _xavier(projection, config.init_xavier_std)
    for layer in transformer_decoder.layers:
        _decoder_layer(layer, config.init_xavier_std)
    _torch_default(transformer_decoder.mask_head)


def _deformable_attention(attention: DeformableAttention) -> None:
    """Heads look in directions of their own, points ever farther, all weights equal (Deformable DETR, A.4)."""
    heads = attention.heads
    angles = mx.arange(heads) * (2.0 * math.pi / heads)
    directions = mx.stack([mx.cos(angles), mx.sin(angles)], axis=-1)
    directions = directions / mx.abs(directions).max(axis=-1, keepdims=True)
    steps = mx.arange(1, POINTS + 1)[:, None]
    offsets = mx.broadcast_to(directions[:, None, None] * steps, (heads, NUM_LEVELS, POINTS, 2))
    attention.sampling_offsets.weight = mx.zeros_like(attention.sampling_offsets.weight)
    attention.sampling_offsets.bias = offsets.reshape(-1)
    attention.attention_weights.weight = mx.zeros_like(attention.attention_weights.weight)
    _xavier(attention.value_projection)
    _xavier(attention.output_projection)


def _decoder_layer(layer: DecoderLayer, gain: float) -> None:
    for attention in (layer.cross_attention, layer.self_attention):
        # The reference keeps the projections of the cross-attention in one matrix, three times as tall.
        stacked = 3 if attention is layer.cross_attention else 1
        for name in ("query_projection", "key_projection", "value_projection"):
            _xavier(attention[name], gain, stacked)
        _xavier(attention.output_projection, gain)
    _xavier(layer.linear1, gain)
    _xavier(layer.linear2, gain)


def _xavier(linear: nn.Linear, gain: float = 1.0, stacked: int = 1) -> None:
    outputs, inputs = linear.weight.shape
    limit = gain * math.sqrt(6.0 / (inputs + outputs * stacked))
    linear.weight = mx.random.uniform(-limit, limit, linear.weight.shape)
    if "bias" in linear:
        linear.bias = mx.zeros_like(linear.bias)


def _torch_default(mlp: MLP) -> None:
    """The uniform initialization of torch's `nn.Linear`, which the reference leaves in the mask head."""
    for linear in mlp.layers:
        limit = 1.0 / math.sqrt(linear.weight.shape[1])
        linear.weight = mx.random.uniform(-limit, limit, linear.weight.shape)
        linear.bias = mx.random.uniform(-limit, limit, linear.bias.shape)

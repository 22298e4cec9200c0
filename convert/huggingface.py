"""Hugging Face transformers: `Mask2FormerForUniversalSegmentation` with a Swin, ResNet or timm ResNet backbone.

The keys are those that `save_pretrained` writes, and those of models in memory in transformers 5.
"""

from dataclasses import replace

from lucid_mlx.convert.rules import Rule
from lucid_mlx.convert.torchvision import resnet

_BACKBONE = "model.pixel_level_module.encoder."
_BLOCK = _BACKBONE + "encoder.layers.{i}.blocks.{j}."
_LAYER = _BACKBONE + "encoder.stages.{i}.layers.{j}."
_PIXEL = "model.pixel_level_module.decoder."
_ENCODER = _PIXEL + "encoder.layers.{i}."
_TRANSFORMER = "model.transformer_module."
_DECODER = _TRANSFORMER + "decoder.layers.{i}."

_OUR_BLOCK = "backbone.stages.{i}.blocks.{j}."
_OUR_ENCODER = "pixel_decoder.layers.{i}."
_OUR_DECODER = "transformer_decoder.layers.{i}."

_FUSED = "query, key and value of window attention are one linear layer here"


def _conv_to_linear(source: str, target: str) -> Rule:
    return Rule(source, target, "a 1x1 convolution, which is a linear layer here", conv_to_linear=True)


SWIN = [
    Rule(_BACKBONE + "embeddings.patch_embeddings.projection.{wb}", "backbone.patch_embedding.projection.{wb}"),
    Rule(_BACKBONE + "embeddings.norm.{wb}", "backbone.patch_embedding.norm.{wb}"),
    Rule(_BLOCK + "layernorm_before.{wb}", _OUR_BLOCK + "norm1.{wb}"),
    Rule(_BLOCK + "attention.self.query.{wb}", _OUR_BLOCK + "attention.qkv.{wb}", _FUSED, chunk=0),
    Rule(_BLOCK + "attention.self.key.{wb}", _OUR_BLOCK + "attention.qkv.{wb}", _FUSED, chunk=1),
    Rule(_BLOCK + "attention.self.value.{wb}", _OUR_BLOCK + "attention.qkv.{wb}", _FUSED, chunk=2),
    Rule(
        _BLOCK + "attention.self.relative_position_bias_table",
        _OUR_BLOCK + "attention.relative_position_bias_table",
    ),
    Rule(_BLOCK + "attention.self.relative_position_index", None, "follows from the window size"),
    Rule(_BLOCK + "attention.output.dense.{wb}", _OUR_BLOCK + "attention.projection.{wb}"),
    Rule(_BLOCK + "layernorm_after.{wb}", _OUR_BLOCK + "norm2.{wb}"),
    Rule(_BLOCK + "intermediate.dense.{wb}", _OUR_BLOCK + "linear1.{wb}"),
    Rule(_BLOCK + "output.dense.{wb}", _OUR_BLOCK + "linear2.{wb}"),
    Rule(_BACKBONE + "encoder.layers.{i}.downsample.norm.{wb}", "backbone.stages.{i}.downsample.norm.{wb}"),
    Rule(
        _BACKBONE + "encoder.layers.{i}.downsample.reduction.weight", "backbone.stages.{i}.downsample.reduction.weight"
    ),
    Rule(_BACKBONE + "hidden_states_norms.stage{i}.{wb}", "backbone.norms.{i-1}.{wb}", "stages count from 1 there"),
    Rule(_BACKBONE + "swin.layernorm.{wb}", None, "the classifier's norm, which the backbone does not run"),
]

_NEW_BLOCK = _BACKBONE + "swin.encoder.layers.{i}.blocks.{j}."

# The keys of a Swin in memory in transformers 5: one level deeper, and other names in the blocks.
SWIN_IN_MEMORY = [
    *(
        replace(rule, source=rule.source.replace(_BACKBONE, _BACKBONE + "swin."))
        for rule in SWIN
        if rule.source.startswith((_BACKBONE + "embeddings", _BACKBONE + "encoder.layers.{i}.downsample"))
    ),
    Rule(_NEW_BLOCK + "layernorm_before.{wb}", _OUR_BLOCK + "norm1.{wb}"),
    Rule(_NEW_BLOCK + "attention.q_proj.{wb}", _OUR_BLOCK + "attention.qkv.{wb}", _FUSED, chunk=0),
    Rule(_NEW_BLOCK + "attention.k_proj.{wb}", _OUR_BLOCK + "attention.qkv.{wb}", _FUSED, chunk=1),
    Rule(_NEW_BLOCK + "attention.v_proj.{wb}", _OUR_BLOCK + "attention.qkv.{wb}", _FUSED, chunk=2),
    Rule(_NEW_BLOCK + "attention.o_proj.{wb}", _OUR_BLOCK + "attention.projection.{wb}"),
    Rule(
        _NEW_BLOCK + "attention.relative_position_bias.relative_position_bias_table",
        _OUR_BLOCK + "attention.relative_position_bias_table",
    ),
    Rule(_NEW_BLOCK + "layernorm_after.{wb}", _OUR_BLOCK + "norm2.{wb}"),
    Rule(_NEW_BLOCK + "mlp.fc{n}.{wb}", _OUR_BLOCK + "linear{n}.{wb}"),
]

RESNET = [
    Rule(_BACKBONE + "embedder.embedder.convolution.weight", "backbone.stem.0.conv.weight"),
    Rule(_BACKBONE + "embedder.embedder.normalization.{bn}", "backbone.stem.0.norm.{bn}"),
    Rule(_LAYER + "layer.{k}.convolution.weight", "backbone.stages.{i}.{j}.convs.{k}.conv.weight"),
    Rule(_LAYER + "layer.{k}.normalization.{bn}", "backbone.stages.{i}.{j}.convs.{k}.norm.{bn}"),
    Rule(_LAYER + "shortcut.convolution.weight", "backbone.stages.{i}.{j}.shortcut.conv.weight"),
    Rule(_LAYER + "shortcut.normalization.{bn}", "backbone.stages.{i}.{j}.shortcut.norm.{bn}"),
    Rule(_BACKBONE + "{any}.num_batches_tracked", None, "a counter for training from scratch"),
]

PIXEL_DECODER = [
    Rule(_PIXEL + "level_embed", "pixel_decoder.level_embedding"),
    _conv_to_linear(_PIXEL + "input_projections.{i}.0.{wb}", "pixel_decoder.input_projections.{i}.linear.{wb}"),
    Rule(_PIXEL + "input_projections.{i}.1.{wb}", "pixel_decoder.input_projections.{i}.norm.{wb}"),
    Rule(_ENCODER + "self_attn.sampling_offsets.{wb}", _OUR_ENCODER + "attention.sampling_offsets.{wb}"),
    Rule(_ENCODER + "self_attn.attention_weights.{wb}", _OUR_ENCODER + "attention.attention_weights.{wb}"),
    Rule(_ENCODER + "self_attn.value_proj.{wb}", _OUR_ENCODER + "attention.value_projection.{wb}"),
    Rule(_ENCODER + "self_attn.output_proj.{wb}", _OUR_ENCODER + "attention.output_projection.{wb}"),
    Rule(_ENCODER + "self_attn_layer_norm.{wb}", _OUR_ENCODER + "attention_norm.{wb}"),
    Rule(_ENCODER + "fc{n}.{wb}", _OUR_ENCODER + "linear{n}.{wb}"),
    Rule(_ENCODER + "final_layer_norm.{wb}", _OUR_ENCODER + "feedforward_norm.{wb}"),
    _conv_to_linear(_PIXEL + "adapter_1.0.weight", "pixel_decoder.lateral.linear.weight"),
    Rule(_PIXEL + "adapter_1.1.{wb}", "pixel_decoder.lateral.norm.{wb}"),
    Rule(_PIXEL + "layer_1.0.weight", "pixel_decoder.output.conv.weight"),
    Rule(_PIXEL + "layer_1.1.{wb}", "pixel_decoder.output.norm.{wb}"),
    _conv_to_linear(_PIXEL + "mask_projection.{wb}", "pixel_decoder.mask_projection.{wb}"),
]

TRANSFORMER_DECODER = [
    Rule(_TRANSFORMER + "queries_embedder.weight", "transformer_decoder.query_positions"),
    Rule(_TRANSFORMER + "queries_features.weight", "transformer_decoder.query_features"),
    Rule(_TRANSFORMER + "level_embed.weight", "transformer_decoder.level_embedding"),
    _conv_to_linear(_TRANSFORMER + "input_projections.{i}.{wb}", "transformer_decoder.input_projections.{i}.{wb}"),
    Rule(
        _DECODER + "cross_attn.in_proj_{wb}",
        tuple(_OUR_DECODER + f"cross_attention.{name}_projection." + "{wb}" for name in ("query", "key", "value")),
        "torch's attention has its three projections in one matrix",
    ),
    Rule(_DECODER + "cross_attn.out_proj.{wb}", _OUR_DECODER + "cross_attention.output_projection.{wb}"),
    Rule(_DECODER + "self_attn.q_proj.{wb}", _OUR_DECODER + "self_attention.query_projection.{wb}"),
    Rule(_DECODER + "self_attn.k_proj.{wb}", _OUR_DECODER + "self_attention.key_projection.{wb}"),
    Rule(_DECODER + "self_attn.v_proj.{wb}", _OUR_DECODER + "self_attention.value_projection.{wb}"),
    Rule(_DECODER + "self_attn.out_proj.{wb}", _OUR_DECODER + "self_attention.output_projection.{wb}"),
    Rule(_DECODER + "cross_attn_layer_norm.{wb}", _OUR_DECODER + "cross_attention_norm.{wb}"),
    Rule(_DECODER + "self_attn_layer_norm.{wb}", _OUR_DECODER + "self_attention_norm.{wb}"),
    Rule(_DECODER + "fc{n}.{wb}", _OUR_DECODER + "linear{n}.{wb}"),
    Rule(_DECODER + "final_layer_norm.{wb}", _OUR_DECODER + "feedforward_norm.{wb}"),
    Rule(_TRANSFORMER + "decoder.layernorm.{wb}", "transformer_decoder.norm.{wb}"),
    Rule(
        _TRANSFORMER + "decoder.mask_predictor.mask_embedder.{i}.0.{wb}",
        "transformer_decoder.mask_head.layers.{i}.{wb}",
    ),
    Rule("class_predictor.{wb}", "transformer_decoder.class_head.{wb}"),
    Rule("criterion.empty_weight", None, "the loss builds its class weights from the configuration"),
]

RULES = [
    *SWIN,
    *SWIN_IN_MEMORY,
    *RESNET,
    *resnet(_BACKBONE + "_backbone."),  # timm
    *PIXEL_DECODER,
    *TRANSFORMER_DECODER,
]

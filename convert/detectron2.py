"""The original project, on detectron2: Swin and ResNet backbones, both versions of its checkpoints."""

from lucid_mlx.convert.rules import Rule

_BLOCK = "backbone.layers.{i}.blocks.{j}."
_OUR_BLOCK = "backbone.stages.{i}.blocks.{j}."
_OUR_ENCODER = "pixel_decoder.layers.{i}."
_PREDICTOR = "sem_seg_head.predictor."
_OUR_DECODER = "transformer_decoder.layers.{i}."

_STACKED = "torch's attention has its three projections in one matrix"
_POINTWISE = "a 1x1 convolution, which is a linear layer here"
_BY_STRIDE = "stages are called res2 to res5 there"

SWIN = [
    Rule("backbone.patch_embed.proj.{wb}", "backbone.patch_embedding.projection.{wb}"),
    Rule("backbone.patch_embed.norm.{wb}", "backbone.patch_embedding.norm.{wb}"),
    Rule(_BLOCK + "norm{n}.{wb}", _OUR_BLOCK + "norm{n}.{wb}"),
    Rule(_BLOCK + "attn.relative_position_bias_table", _OUR_BLOCK + "attention.relative_position_bias_table"),
    Rule(_BLOCK + "attn.relative_position_index", None, "follows from the window size"),
    Rule(_BLOCK + "attn.qkv.{wb}", _OUR_BLOCK + "attention.qkv.{wb}"),
    Rule(_BLOCK + "attn.proj.{wb}", _OUR_BLOCK + "attention.projection.{wb}"),
    Rule(_BLOCK + "mlp.fc{n}.{wb}", _OUR_BLOCK + "linear{n}.{wb}"),
    Rule("backbone.layers.{i}.downsample.norm.{wb}", "backbone.stages.{i}.downsample.norm.{wb}"),
    Rule("backbone.layers.{i}.downsample.reduction.weight", "backbone.stages.{i}.downsample.reduction.weight"),
    Rule("backbone.norm{i}.{wb}", "backbone.norms.{i}.{wb}"),
]

RESNET = [
    Rule("backbone.stem.conv{i}.weight", "backbone.stem.{i-1}.conv.weight", "one convolution, or three if deep"),
    Rule("backbone.stem.conv{i}.norm.{bn}", "backbone.stem.{i-1}.norm.{bn}"),
    Rule("backbone.res{i}.{j}.conv{k}.weight", "backbone.stages.{i-2}.{j}.convs.{k-1}.conv.weight", _BY_STRIDE),
    Rule("backbone.res{i}.{j}.conv{k}.norm.{bn}", "backbone.stages.{i-2}.{j}.convs.{k-1}.norm.{bn}", _BY_STRIDE),
    Rule("backbone.res{i}.{j}.shortcut.weight", "backbone.stages.{i-2}.{j}.shortcut.conv.weight", _BY_STRIDE),
    Rule("backbone.res{i}.{j}.shortcut.norm.{bn}", "backbone.stages.{i-2}.{j}.shortcut.norm.{bn}", _BY_STRIDE),
    Rule("backbone.{any}.num_batches_tracked", None, "a counter for training from scratch"),
]


def _pixel_decoder(root: str) -> list[Rule]:
    encoder = root + "transformer.encoder.layers.{i}."
    return [
        Rule(root + "input_proj.{i}.0.{wb}", "pixel_decoder.input_projections.{i}.linear.{wb}", _POINTWISE),
        Rule(root + "input_proj.{i}.1.{wb}", "pixel_decoder.input_projections.{i}.norm.{wb}"),
        Rule(root + "transformer.level_embed", "pixel_decoder.level_embedding"),
        Rule(encoder + "self_attn.sampling_offsets.{wb}", _OUR_ENCODER + "attention.sampling_offsets.{wb}"),
        Rule(encoder + "self_attn.attention_weights.{wb}", _OUR_ENCODER + "attention.attention_weights.{wb}"),
        Rule(encoder + "self_attn.value_proj.{wb}", _OUR_ENCODER + "attention.value_projection.{wb}"),
        Rule(encoder + "self_attn.output_proj.{wb}", _OUR_ENCODER + "attention.output_projection.{wb}"),
        Rule(encoder + "norm1.{wb}", _OUR_ENCODER + "attention_norm.{wb}", "norms are numbered in order there"),
        Rule(encoder + "linear{n}.{wb}", _OUR_ENCODER + "linear{n}.{wb}"),
        Rule(encoder + "norm2.{wb}", _OUR_ENCODER + "feedforward_norm.{wb}", "norms are numbered in order there"),
        Rule(root + "mask_features.{wb}", "pixel_decoder.mask_projection.{wb}", _POINTWISE),
        Rule(root + "adapter_1.weight", "pixel_decoder.lateral.linear.weight", _POINTWISE),
        Rule(root + "adapter_1.norm.{wb}", "pixel_decoder.lateral.norm.{wb}"),
        Rule(root + "layer_1.weight", "pixel_decoder.output.conv.weight"),
        Rule(root + "layer_1.norm.{wb}", "pixel_decoder.output.norm.{wb}"),
    ]


def _attention(theirs: str, ours: str) -> list[Rule]:
    """Return the rules of the decoder's cross-attention or self-attention layers."""
    return [
        Rule(
            theirs + "in_proj_{wb}",
            tuple(_OUR_DECODER + f"{ours}.{name}_projection." + "{wb}" for name in ("query", "key", "value")),
            _STACKED,
        ),
        Rule(theirs + "out_proj.{wb}", _OUR_DECODER + ours + ".output_projection.{wb}"),
    ]


PREDICTOR = [
    *_attention(_PREDICTOR + "transformer_cross_attention_layers.{i}.multihead_attn.", "cross_attention"),
    *_attention(_PREDICTOR + "transformer_self_attention_layers.{i}.self_attn.", "self_attention"),
    Rule(_PREDICTOR + "transformer_cross_attention_layers.{i}.norm.{wb}", _OUR_DECODER + "cross_attention_norm.{wb}"),
    Rule(_PREDICTOR + "transformer_self_attention_layers.{i}.norm.{wb}", _OUR_DECODER + "self_attention_norm.{wb}"),
    Rule(_PREDICTOR + "transformer_ffn_layers.{i}.linear{n}.{wb}", _OUR_DECODER + "linear{n}.{wb}"),
    Rule(_PREDICTOR + "transformer_ffn_layers.{i}.norm.{wb}", _OUR_DECODER + "feedforward_norm.{wb}"),
    Rule(_PREDICTOR + "decoder_norm.{wb}", "transformer_decoder.norm.{wb}"),
    Rule(_PREDICTOR + "query_feat.weight", "transformer_decoder.query_features"),
    Rule(_PREDICTOR + "static_query.weight", "transformer_decoder.query_features", "its name in version 1"),
    Rule(_PREDICTOR + "query_embed.weight", "transformer_decoder.query_positions"),
    Rule(_PREDICTOR + "level_embed.weight", "transformer_decoder.level_embedding"),
    Rule(_PREDICTOR + "input_proj.{i}.{wb}", "transformer_decoder.input_projections.{i}.{wb}", _POINTWISE),
    Rule(_PREDICTOR + "class_embed.{wb}", "transformer_decoder.class_head.{wb}"),
    Rule(_PREDICTOR + "mask_embed.layers.{i}.{wb}", "transformer_decoder.mask_head.layers.{i}.{wb}"),
    Rule("criterion.empty_weight", None, "the loss builds its class weights from the configuration"),
    Rule("pixel_mean", None, "the normalization of images is in preprocessor_config.json"),
    Rule("pixel_std", None, "the normalization of images is in preprocessor_config.json"),
]

RULES = [
    *SWIN,
    *RESNET,
    *PREDICTOR,
    *_pixel_decoder("sem_seg_head.pixel_decoder."),
    *_pixel_decoder("sem_seg_head."),  # in version 1 it was part of the head
]

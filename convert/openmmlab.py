"""OpenMMLab: MMDetection 3 and earlier, and MMSegmentation, with Swin and ResNet backbones."""

from collections.abc import Mapping

import mlx.core as mx

from lucid_mlx.convert.rules import Rule
from lucid_mlx.convert.torchvision import resnet

_BLOCK = "backbone.stages.{i}.blocks.{j}."
_OUR_BLOCK = "backbone.stages.{i}.blocks.{j}."
_OUR_ENCODER = "pixel_decoder.layers.{i}."
_OUR_DECODER = "transformer_decoder.layers.{i}."

_STACKED = "torch's attention has its three projections in one matrix"
_POINTWISE = "a 1x1 convolution, which is a linear layer here"
_BEFORE_3 = "the name before MMDetection 3"
_IN_ORDER = "norms are numbered in the order in which they run"

SWIN = [
    Rule("backbone.patch_embed.projection.{wb}", "backbone.patch_embedding.projection.{wb}"),
    Rule("backbone.patch_embed.norm.{wb}", "backbone.patch_embedding.norm.{wb}"),
    Rule(_BLOCK + "norm{n}.{wb}", _OUR_BLOCK + "norm{n}.{wb}"),
    Rule(_BLOCK + "attn.w_msa.relative_position_bias_table", _OUR_BLOCK + "attention.relative_position_bias_table"),
    Rule(_BLOCK + "attn.w_msa.relative_position_index", None, "follows from the window size"),
    Rule(_BLOCK + "attn.w_msa.qkv.{wb}", _OUR_BLOCK + "attention.qkv.{wb}"),
    Rule(_BLOCK + "attn.w_msa.proj.{wb}", _OUR_BLOCK + "attention.projection.{wb}"),
    Rule(_BLOCK + "ffn.layers.0.0.{wb}", _OUR_BLOCK + "linear1.{wb}"),
    Rule(_BLOCK + "ffn.layers.1.{wb}", _OUR_BLOCK + "linear2.{wb}"),
    Rule("backbone.stages.{i}.downsample.norm.{wb}", "backbone.stages.{i}.downsample.norm.{wb}"),
    Rule("backbone.stages.{i}.downsample.reduction.weight", "backbone.stages.{i}.downsample.reduction.weight"),
    Rule("backbone.norm{i}.{wb}", "backbone.norms.{i}.{wb}"),
]


def _attention(theirs: str, ours: str, reason: str) -> list[Rule]:
    return [
        Rule(
            theirs + "attn.in_proj_{wb}",
            tuple(_OUR_DECODER + f"{ours}.{name}_projection." + "{wb}" for name in ("query", "key", "value")),
            _STACKED,
        ),
        Rule(theirs + "attn.out_proj.{wb}", _OUR_DECODER + ours + ".output_projection.{wb}", reason),
    ]


def _head(root: str) -> list[Rule]:
    pixel, encoder = root + "pixel_decoder.", root + "pixel_decoder.encoder.layers.{i}."
    decoder = root + "transformer_decoder.layers.{i}."
    rules = [
        # Numbered like the levels: 0 is the coarsest.
        Rule(pixel + "input_convs.{i}.conv.{wb}", "pixel_decoder.input_projections.{i}.linear.{wb}", _POINTWISE),
        Rule(pixel + "input_convs.{i}.gn.{wb}", "pixel_decoder.input_projections.{i}.norm.{wb}"),
        Rule(pixel + "level_encoding.weight", "pixel_decoder.level_embedding"),
        Rule(pixel + "lateral_convs.0.conv.weight", "pixel_decoder.lateral.linear.weight", _POINTWISE),
        Rule(pixel + "lateral_convs.0.gn.{wb}", "pixel_decoder.lateral.norm.{wb}"),
        Rule(pixel + "output_convs.0.conv.weight", "pixel_decoder.output.conv.weight"),
        Rule(pixel + "output_convs.0.gn.{wb}", "pixel_decoder.output.norm.{wb}"),
        Rule(pixel + "mask_feature.{wb}", "pixel_decoder.mask_projection.{wb}", _POINTWISE),
        Rule(encoder + "norms.0.{wb}", _OUR_ENCODER + "attention_norm.{wb}", _IN_ORDER),
        Rule(encoder + "norms.1.{wb}", _OUR_ENCODER + "feedforward_norm.{wb}", _IN_ORDER),
        Rule(decoder + "norms.0.{wb}", _OUR_DECODER + "cross_attention_norm.{wb}", _IN_ORDER),
        Rule(decoder + "norms.1.{wb}", _OUR_DECODER + "self_attention_norm.{wb}", _IN_ORDER),
        Rule(decoder + "norms.2.{wb}", _OUR_DECODER + "feedforward_norm.{wb}", _IN_ORDER),
        *_attention(decoder + "cross_attn.", "cross_attention", "the same layer under our name"),
        *_attention(decoder + "self_attn.", "self_attention", "the same layer under our name"),
        *_attention(decoder + "attentions.0.", "cross_attention", _BEFORE_3),
        *_attention(decoder + "attentions.1.", "self_attention", _BEFORE_3),
        Rule(root + "transformer_decoder.post_norm.{wb}", "transformer_decoder.norm.{wb}"),
        Rule(root + "decoder_input_projs.{i}.{wb}", "transformer_decoder.input_projections.{i}.{wb}", _POINTWISE),
        Rule(root + "query_embed.weight", "transformer_decoder.query_positions"),
        Rule(root + "query_feat.weight", "transformer_decoder.query_features"),
        Rule(root + "level_embed.weight", "transformer_decoder.level_embedding"),
        Rule(root + "cls_embed.{wb}", "transformer_decoder.class_head.{wb}"),
        *(
            Rule(
                root + f"mask_embed.{2 * layer}." + "{wb}",
                f"transformer_decoder.mask_head.layers.{layer}." + "{wb}",
                "activations have numbers too there",
            )
            for layer in range(3)
        ),
    ]
    for attention, reason in (("self_attn.", "the same layer under our name"), ("attentions.0.", _BEFORE_3)):
        for theirs, ours in (
            ("sampling_offsets", "sampling_offsets"),
            ("attention_weights", "attention_weights"),
            ("value_proj", "value_projection"),
            ("output_proj", "output_projection"),
        ):
            rules.append(
                Rule(encoder + attention + theirs + ".{wb}", _OUR_ENCODER + f"attention.{ours}." + "{wb}", reason)
            )
    for ffn, reason in (("ffn.", "the same layer under our name"), ("ffns.0.", _BEFORE_3)):
        for theirs, ours in ((encoder, _OUR_ENCODER), (decoder, _OUR_DECODER)):
            rules.append(Rule(theirs + ffn + "layers.0.0.{wb}", ours + "linear1.{wb}", reason))
            rules.append(Rule(theirs + ffn + "layers.1.{wb}", ours + "linear2.{wb}", reason))
    return rules


# Of MMDetection, of MMSegmentation, and of MMDetection's video network, whose keys differ in nothing else.
HEADS = ("panoptic_head.", "decode_head.", "track_head.")

RULES = [
    *SWIN,
    *resnet("backbone."),
    *(rule for head in HEADS for rule in _head(head)),
    *(Rule(head + "loss_cls.{any}", None, "class weights of the loss") for head in HEADS),
]


def reorder_patch_merging(arrays: Mapping[str, mx.array]) -> Mapping[str, mx.array]:
    """Reorder the input channels of Swin's patch merging, which concatenates the four neighbors of a 2x2 block.

    There the last axis of size 4 C is (C, neighbor) with the neighbors (0,0), (0,1), (1,0), (1,1), the order of torch's
    unfold. Here it is (neighbor, C) with (0,0), (1,0), (0,1), (1,1). The shapes agree, so no check would find it.

    Args:
        arrays: of the checkpoint, by key.

    Returns:
        The same arrays in the same shapes; those of patch merging are reordered.
    """
    reordered = dict(arrays)
    for key, array in reordered.items():
        merging = key.startswith("backbone.stages.") and (".downsample.norm." in key or ".downsample.reduction." in key)
        if merging and array.ndim and array.shape[-1] % 4 == 0:  # other shapes are reported when the arrays are renamed
            reordered[key] = _reorder_neighbors(array)
    return reordered


def _reorder_neighbors(array: mx.array) -> mx.array:
    """Change the last axis from (C, neighbor) to (neighbor, C), with the neighbors in our order."""
    *rows, inputs = array.shape
    neighbors = array.reshape(*rows, inputs // 4, 4)[..., mx.array([0, 2, 1, 3])]
    return neighbors.swapaxes(-1, -2).reshape(*rows, inputs)

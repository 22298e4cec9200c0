"""Hugging Face transformers: `Mask2FormerForUniversalSegmentation` with a Swin or ResNet backbone.

The names are those of January 2023, which `save_pretrained` still writes.
"""

from lucid_mlx.convert.rules import Rule, drop

_PIXEL = r"model\.pixel_level_module\."
_BACKBONE = _PIXEL + r"encoder\."
_BLOCK = _BACKBONE + r"encoder\.layers\.(\d+)\.blocks\.(\d+)\."
_OUR_BLOCK = r"backbone.stages.\1.blocks.\2."
_ENCODER = _PIXEL + r"decoder\.encoder\.layers\.(\d+)\."
_OUR_ENCODER = r"pixel_decoder.layers.\1."
_TRANSFORMER = r"model\.transformer_module\."
_DECODER = _TRANSFORMER + r"decoder\.layers\.(\d+)\."
_OUR_DECODER = r"transformer_decoder.layers.\1."
_WB = r"(weight|bias)"
_BN = r"(weight|bias|running_mean|running_var)"

_SAME = "the same layer under our name"
_FUSED = "query, key and value of a window are one product here"

SWIN = [
    Rule(
        _BACKBONE + r"embeddings\.patch_embeddings\.projection\." + _WB,
        (r"backbone.patch_embedding.projection.\1",),
        _SAME,
    ),
    Rule(_BACKBONE + r"embeddings\.norm\." + _WB, (r"backbone.patch_embedding.norm.\1",), _SAME),
    Rule(_BLOCK + r"layernorm_before\." + _WB, (_OUR_BLOCK + r"norm1.\3",), _SAME),
    Rule(_BLOCK + r"attention\.self\.query\." + _WB, (_OUR_BLOCK + r"attention.qkv.\3",), _FUSED, part=0),
    Rule(_BLOCK + r"attention\.self\.key\." + _WB, (_OUR_BLOCK + r"attention.qkv.\3",), _FUSED, part=1),
    Rule(_BLOCK + r"attention\.self\.value\." + _WB, (_OUR_BLOCK + r"attention.qkv.\3",), _FUSED, part=2),
    Rule(
        _BLOCK + r"attention\.self\.relative_position_bias_table",
        (_OUR_BLOCK + "attention.relative_position_bias_table",),
        _SAME,
    ),
    drop(_BLOCK + r"attention\.self\.relative_position_index", "follows from the window size"),
    Rule(_BLOCK + r"attention\.output\.dense\." + _WB, (_OUR_BLOCK + r"attention.projection.\3",), _SAME),
    Rule(_BLOCK + r"layernorm_after\." + _WB, (_OUR_BLOCK + r"norm2.\3",), _SAME),
    Rule(_BLOCK + r"intermediate\.dense\." + _WB, (_OUR_BLOCK + r"linear1.\3",), _SAME),
    Rule(_BLOCK + r"output\.dense\." + _WB, (_OUR_BLOCK + r"linear2.\3",), _SAME),
    Rule(
        _BACKBONE + r"encoder\.layers\.(\d+)\.downsample\.(norm|reduction)\." + _WB,
        (r"backbone.stages.\1.downsample.\2.\3",),
        _SAME,
    ),
    *(
        Rule(
            _BACKBONE + rf"hidden_states_norms\.stage{stage + 1}\." + _WB,
            (rf"backbone.norms.{stage}.\1",),
            "stages count from 1 there",
        )
        for stage in range(4)
    ),
    drop(_BACKBONE + r"swin\.layernorm\." + _WB, "the classifier's norm, which the backbone never runs"),
]

RESNET = [
    Rule(_BACKBONE + r"embedder\.embedder\.convolution\.weight", ("backbone.stem.0.conv.weight",), _SAME),
    Rule(_BACKBONE + r"embedder\.embedder\.normalization\." + _BN, (r"backbone.stem.0.norm.\1",), _SAME),
    Rule(
        _BACKBONE + r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\.weight",
        (r"backbone.stages.\1.\2.convs.\3.conv.weight",),
        _SAME,
    ),
    Rule(
        _BACKBONE + r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\." + _BN,
        (r"backbone.stages.\1.\2.convs.\3.norm.\4",),
        _SAME,
    ),
    Rule(
        _BACKBONE + r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\.weight",
        (r"backbone.stages.\1.\2.shortcut.conv.weight",),
        _SAME,
    ),
    Rule(
        _BACKBONE + r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\." + _BN,
        (r"backbone.stages.\1.\2.shortcut.norm.\3",),
        _SAME,
    ),
    drop(_BACKBONE + r".*\.num_batches_tracked", "a counter for training from scratch"),
]

PIXEL_DECODER = [
    Rule(_PIXEL + r"decoder\.level_embed", ("pixel_decoder.level_embedding",), _SAME),
    Rule(
        _PIXEL + r"decoder\.input_projections\.(\d+)\.0\." + _WB,
        (r"pixel_decoder.input_projections.\1.linear.\2",),
        "a 1x1 convolution",
    ),
    Rule(
        _PIXEL + r"decoder\.input_projections\.(\d+)\.1\." + _WB,
        (r"pixel_decoder.input_projections.\1.norm.\2",),
        _SAME,
    ),
    Rule(
        _ENCODER + r"self_attn\.(sampling_offsets|attention_weights)\." + _WB,
        (_OUR_ENCODER + r"attention.\2.\3",),
        _SAME,
    ),
    Rule(
        _ENCODER + r"self_attn\.(value|output)_proj\." + _WB,
        (_OUR_ENCODER + r"attention.\2_projection.\3",),
        _SAME,
    ),
    Rule(_ENCODER + r"self_attn_layer_norm\." + _WB, (_OUR_ENCODER + r"attention_norm.\2",), _SAME),
    Rule(_ENCODER + r"fc([12])\." + _WB, (_OUR_ENCODER + r"linear\2.\3",), _SAME),
    Rule(_ENCODER + r"final_layer_norm\." + _WB, (_OUR_ENCODER + r"feedforward_norm.\2",), _SAME),
    Rule(
        _PIXEL + r"decoder\.adapter_1\.0\.weight",
        ("pixel_decoder.lateral.linear.weight",),
        "a 1x1 convolution",
    ),
    Rule(_PIXEL + r"decoder\.adapter_1\.1\." + _WB, (r"pixel_decoder.lateral.norm.\1",), _SAME),
    Rule(_PIXEL + r"decoder\.layer_1\.0\.weight", ("pixel_decoder.output.conv.weight",), _SAME),
    Rule(_PIXEL + r"decoder\.layer_1\.1\." + _WB, (r"pixel_decoder.output.norm.\1",), _SAME),
    Rule(
        _PIXEL + r"decoder\.mask_projection\." + _WB,
        (r"pixel_decoder.mask_projection.\1",),
        "a 1x1 convolution",
    ),
]

TRANSFORMER_DECODER = [
    Rule(_TRANSFORMER + r"queries_embedder\.weight", ("transformer_decoder.query_positions",), _SAME),
    Rule(_TRANSFORMER + r"queries_features\.weight", ("transformer_decoder.query_features",), _SAME),
    Rule(_TRANSFORMER + r"level_embed\.weight", ("transformer_decoder.level_embedding",), _SAME),
    Rule(
        _TRANSFORMER + r"input_projections\.(\d+)\." + _WB,
        (r"transformer_decoder.input_projections.\1.\2",),
        "a 1x1 convolution",
    ),
    Rule(
        _DECODER + r"cross_attn\.in_proj_" + _WB,
        tuple(_OUR_DECODER + rf"cross_attention.{name}_projection.\2" for name in ("query", "key", "value")),
        "torch's attention keeps its three projections in one matrix",
    ),
    Rule(
        _DECODER + r"cross_attn\.out_proj\." + _WB,
        (_OUR_DECODER + r"cross_attention.output_projection.\2",),
        _SAME,
    ),
    *(
        Rule(
            _DECODER + rf"self_attn\.{theirs}_proj\." + _WB,
            (_OUR_DECODER + rf"self_attention.{ours}_projection.\2",),
            _SAME,
        )
        for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "output"))
    ),
    Rule(_DECODER + r"(cross|self)_attn_layer_norm\." + _WB, (_OUR_DECODER + r"\2_attention_norm.\3",), _SAME),
    Rule(_DECODER + r"fc([12])\." + _WB, (_OUR_DECODER + r"linear\2.\3",), _SAME),
    Rule(_DECODER + r"final_layer_norm\." + _WB, (_OUR_DECODER + r"feedforward_norm.\2",), _SAME),
    Rule(_TRANSFORMER + r"decoder\.layernorm\." + _WB, (r"transformer_decoder.norm.\1",), _SAME),
    Rule(
        _TRANSFORMER + r"decoder\.mask_predictor\.mask_embedder\.(\d)\.0\." + _WB,
        (r"transformer_decoder.mask_head.layers.\1.\2",),
        _SAME,
    ),
    Rule(r"class_predictor\." + _WB, (r"transformer_decoder.class_head.\1",), _SAME),
    drop(r"criterion\.empty_weight", "the loss builds its class weights from the configuration"),
]

RULES = [*SWIN, *RESNET, *PIXEL_DECODER, *TRANSFORMER_DECODER]

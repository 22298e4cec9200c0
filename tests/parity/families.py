"""Rename a Hugging Face state dict to other families' keys, independently of the converter's rules."""

import re

import torch

State = dict[str, torch.Tensor]


def _renamed(state: State, substitutions: list[tuple[str, str]]) -> State:
    """Apply substitutions in order to every key."""
    renamed = {}
    for key, value in state.items():
        for pattern, replacement in substitutions:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


def _fuse(state: State, pattern: str, names: tuple[str, ...], fused: str) -> State:
    """Concatenate arrays whose keys differ in one name along the first axis."""
    result = dict(state)
    for key in state:
        if match := re.fullmatch(pattern, key):
            if match["name"] != names[0]:
                continue
            keys = [key[: match.start("name")] + name + key[match.end("name") :] for name in names]
            result[match.expand(fused)] = torch.cat([result.pop(key) for key in keys])
    return result


def _without(state: State, *words: str) -> State:
    return {key: value for key, value in state.items() if not any(word in key for word in words)}


def _fused_swin(state: State) -> State:
    return _fuse(
        state,
        r"(.*)attention\.self\.(?P<name>query|key|value)\.(weight|bias)",
        ("query", "key", "value"),
        r"\1attn.qkv.\3",
    )


def _fused_self_attention(state: State, target: str) -> State:
    return _fuse(
        state,
        r"model\.transformer_module\.decoder\.layers\.(\d+)\.self_attn\.(?P<name>q|k|v)_proj\.(weight|bias)",
        ("q", "k", "v"),
        target,
    )


def _swin_index(window: int) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None, :] + window - 1
    right = columns[:, None] - columns[None, :] + window - 1
    return down * (2 * window - 1) + right


def detectron2(state: State, old: bool = False) -> State:
    """Rename to the original project's keys; with `old` to those of version 1 of its checkpoints."""
    state = _fused_swin(_without(state, "swin.layernorm", "num_batches_tracked"))
    state = _fused_self_attention(
        state, r"sem_seg_head.predictor.transformer_self_attention_layers.\1.self_attn.in_proj_\3"
    )
    encoder = r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1."
    predictor = "sem_seg_head.predictor."
    state = _renamed(
        state,
        [
            (r"^model\.pixel_level_module\.encoder\.", "backbone."),
            (r"^model\.pixel_level_module\.decoder\.encoder\.layers\.(\d+)\.", encoder),
            (r"^model\.pixel_level_module\.decoder\.", "sem_seg_head.pixel_decoder."),
            (r"^model\.transformer_module\.decoder\.layers\.(\d+)\.(\w+)", r"DECODER.\1.\2"),
            (r"^model\.transformer_module\.", predictor),
            # backbones
            (r"^backbone\.embeddings\.patch_embeddings\.projection", "backbone.patch_embed.proj"),
            (r"^backbone\.embeddings\.norm", "backbone.patch_embed.norm"),
            (r"^backbone\.encoder\.layers", "backbone.layers"),
            (r"layernorm_before", "norm1"),
            (r"layernorm_after", "norm2"),
            (r"attention\.self\.relative", "attn.relative"),
            (r"attention\.output\.dense", "attn.proj"),
            (r"intermediate\.dense", "mlp.fc1"),
            (r"output\.dense", "mlp.fc2"),
            *((rf"hidden_states_norms\.stage{i + 1}", f"norm{i}") for i in range(4)),
            (r"^backbone\.embedder\.embedder\.convolution", "backbone.stem.conv1"),
            (r"^backbone\.embedder\.embedder\.normalization", "backbone.stem.conv1.norm"),
            *((rf"^backbone\.encoder\.stages\.{i}\.layers", f"backbone.res{i + 2}") for i in range(4)),
            *((rf"layer\.{i}\.(?=conv|norm)", f"conv{i + 1}.") for i in range(3)),
            (r"\.convolution\.", "."),
            (r"\.normalization\.", ".norm."),
            # pixel decoder
            (r"input_projections", "input_proj"),
            (r"pixel_decoder\.level_embed", "pixel_decoder.transformer.level_embed"),
            (r"(encoder\.layers\.\d+)\.self_attn_layer_norm", r"\1.norm1"),
            (r"(encoder\.layers\.\d+)\.final_layer_norm", r"\1.norm2"),
            (r"(encoder\.layers\.\d+)\.fc", r"\1.linear"),
            (r"mask_projection", "mask_features"),
            (r"(adapter_1|layer_1)\.0\.", r"\1."),
            (r"(adapter_1|layer_1)\.1\.", r"\1.norm."),
            # transformer decoder
            (r"DECODER\.(\d+)\.cross_attn\b", predictor + r"transformer_cross_attention_layers.\1.multihead_attn"),
            (r"DECODER\.(\d+)\.cross_attn_layer_norm", predictor + r"transformer_cross_attention_layers.\1.norm"),
            (r"DECODER\.(\d+)\.self_attn\b", predictor + r"transformer_self_attention_layers.\1.self_attn"),
            (r"DECODER\.(\d+)\.self_attn_layer_norm", predictor + r"transformer_self_attention_layers.\1.norm"),
            (r"DECODER\.(\d+)\.fc", predictor + r"transformer_ffn_layers.\1.linear"),
            (r"DECODER\.(\d+)\.final_layer_norm", predictor + r"transformer_ffn_layers.\1.norm"),
            (r"decoder\.layernorm", "decoder_norm"),
            (r"decoder\.mask_predictor\.mask_embedder\.(\d)\.0", r"mask_embed.layers.\1"),
            (r"queries_embedder", "query_embed"),
            (r"queries_features", "query_feat"),
            (r"^class_predictor", predictor + "class_embed"),
        ],
    )
    for key in [key for key in state if key.endswith("relative_position_bias_table")]:
        window = (int(len(state[key]) ** 0.5) + 1) // 2
        state[key.replace("bias_table", "index")] = _swin_index(window)
    if old:
        state = _renamed(state, [(r"\.pixel_decoder\.", "."), ("query_feat", "static_query")])
    return state


def openmmlab(state: State, head: str = "panoptic_head.", before_3: bool = False) -> State:
    """Rename to MMDetection's keys (before version 3 with `before_3`), or MMSegmentation's with head="decode_head."."""
    state = _fused_swin(_without(state, "swin.layernorm", "criterion"))
    state = _fused_self_attention(state, head + r"transformer_decoder.layers.\1.self_attn.attn.in_proj_\3")
    state = _renamed(
        state,
        [
            (r"^model\.pixel_level_module\.encoder\.", "backbone."),
            (r"^model\.pixel_level_module\.decoder\.", head + "pixel_decoder."),
            (r"^model\.transformer_module\.decoder\.layers", head + "transformer_decoder.layers"),
            (r"^model\.transformer_module\.", head),
            # backbones
            (r"^backbone\.embeddings\.patch_embeddings", "backbone.patch_embed"),
            (r"^backbone\.embeddings\.norm", "backbone.patch_embed.norm"),
            (r"^backbone\.encoder\.layers", "backbone.stages"),
            (r"layernorm_before", "norm1"),
            (r"layernorm_after", "norm2"),
            (r"attn\.qkv", "attn.w_msa.qkv"),
            (r"attention\.self\.relative", "attn.w_msa.relative"),
            (r"attention\.output\.dense", "attn.w_msa.proj"),
            (r"intermediate\.dense", "ffn.layers.0.0"),
            (r"output\.dense", "ffn.layers.1"),
            *((rf"hidden_states_norms\.stage{i + 1}", f"norm{i}") for i in range(4)),
            (r"^backbone\.embedder\.embedder\.convolution", "backbone.conv1"),
            (r"^backbone\.embedder\.embedder\.normalization", "backbone.bn1"),
            *((rf"^backbone\.encoder\.stages\.{i}\.layers", f"backbone.layer{i + 1}") for i in range(4)),
            *((rf"layer\.{i}\.convolution", f"conv{i + 1}") for i in range(3)),
            *((rf"layer\.{i}\.normalization", f"bn{i + 1}") for i in range(3)),
            (r"shortcut\.convolution", "downsample.0"),
            (r"shortcut\.normalization", "downsample.1"),
            # pixel decoder
            (r"input_projections\.(\d)\.0", r"input_convs.\1.conv"),
            (r"input_projections\.(\d)\.1", r"input_convs.\1.gn"),
            (r"pixel_decoder\.level_embed", "pixel_decoder.level_encoding.weight"),
            (r"(encoder\.layers\.\d+)\.self_attn_layer_norm", r"\1.norms.0"),
            (r"(encoder\.layers\.\d+)\.final_layer_norm", r"\1.norms.1"),
            (r"mask_projection", "mask_feature"),
            (r"adapter_1\.0", "lateral_convs.0.conv"),
            (r"adapter_1\.1", "lateral_convs.0.gn"),
            (r"layer_1\.0", "output_convs.0.conv"),
            (r"layer_1\.1", "output_convs.0.gn"),
            # transformer decoder
            (r"(transformer_decoder\.layers\.\d+)\.cross_attn_layer_norm", r"\1.norms.0"),
            (r"(transformer_decoder\.layers\.\d+)\.self_attn_layer_norm", r"\1.norms.1"),
            (r"(transformer_decoder\.layers\.\d+)\.final_layer_norm", r"\1.norms.2"),
            (r"(transformer_decoder\.layers\.\d+\.(?:cross|self)_attn)\.(in|out)_proj", r"\1.attn.\2_proj"),
            (r"(layers\.\d+)\.fc1", r"\1.ffn.layers.0.0"),
            (r"(layers\.\d+)\.fc2", r"\1.ffn.layers.1"),
            (r"decoder\.layernorm", "transformer_decoder.post_norm"),
            *((rf"decoder\.mask_predictor\.mask_embedder\.{i}\.0", f"mask_embed.{2 * i}") for i in range(3)),
            (r"queries_embedder", "query_embed"),
            (r"queries_features", "query_feat"),
            (r"^class_predictor", head + "cls_embed"),
        ],
    )
    for key in [key for key in state if ".downsample." in key and ".stages." in key]:
        # From (neighbor, C), in the order (0,0), (1,0), (0,1), (1,1), to (C, neighbor), (0,0), (0,1), (1,0), (1,1).
        value = state[key]
        neighbors = value.reshape(*value.shape[:-1], 4, -1)[..., [0, 2, 1, 3], :]
        state[key] = neighbors.transpose(-1, -2).reshape(value.shape).contiguous()
    if before_3:
        state = _renamed(
            state,
            [
                (r"(pixel_decoder\.encoder\.layers\.\d+)\.self_attn", r"\1.attentions.0"),
                (r"(transformer_decoder\.layers\.\d+)\.cross_attn", r"\1.attentions.0"),
                (r"(transformer_decoder\.layers\.\d+)\.self_attn", r"\1.attentions.1"),
                (r"(_head\..*layers\.\d+)\.ffn\.", r"\1.ffns.0."),
            ],
        )
    return state


def lucid2(state: State, by_column: bool = False) -> State:
    """Rename to lucid 2's keys; with `by_column` bias tables have the order of models that it initialized itself."""
    state = _renamed(
        _fused_swin(_without(state, "swin.layernorm")),
        [
            (r"layernorm_before", "norm1"),
            (r"layernorm_after", "norm2"),
            (r"attention\.self\.relative", "attn.relative"),
            (r"attention\.output\.dense", "attn.proj"),
            (r"intermediate\.dense", "mlp.fc1"),
            (r"output\.dense", "mlp.fc2"),
        ],
    )
    for key in [key for key in state if key.endswith("relative_position_bias_table")]:
        table = state[key]
        side = int(len(table) ** 0.5)
        index = _swin_index((side + 1) // 2)
        if by_column:
            # The row for (down, right) is at (right, down), as the index says.
            state[key] = table.reshape(side, side, -1).transpose(0, 1).reshape(table.shape).contiguous()
            index = index % side * side + index // side
        state[key.replace("relative_position_bias_table", "relative_pos_index")] = index.double()
        state[key.replace("relative_position_bias_table", "mask").replace("attn.mask", "attn_mask")] = torch.zeros(1)
    return state


def lucid3(memory: State) -> State:
    """Rename a state dict in memory in transformers to lucid 3's keys."""
    substitutions = [(r"^model\.", ""), (r"cross_attn\.out_proj\.", "cross_attn.out_proj_")]
    return _renamed(_without(memory, "criterion", "swin.layernorm"), substitutions)

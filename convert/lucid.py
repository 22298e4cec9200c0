"""lucid: version 2, with a Swin of its own or a ResNet, and version 3."""

from collections.abc import Mapping
from dataclasses import replace

import mlx.core as mx
import numpy as np

from lucid_mlx.convert.huggingface import PIXEL_DECODER, RESNET, SWIN, SWIN_IN_MEMORY, TRANSFORMER_DECODER
from lucid_mlx.convert.rules import Rule
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones.swin import relative_position_index

_BACKBONE = "model.pixel_level_module.encoder."
_BLOCK = _BACKBONE + "encoder.layers.{i}.blocks.{j}."
_OUR_BLOCK = "backbone.stages.{i}.blocks.{j}."

NORMS = [rule for rule in SWIN if "hidden_states_norms" in rule.source]

SWIN_2 = [
    *(rule for rule in SWIN if ".blocks." not in rule.source),
    Rule(_BLOCK + "norm{n}.{wb}", _OUR_BLOCK + "norm{n}.{wb}"),
    Rule(_BLOCK + "attn.relative_position_bias_table", _OUR_BLOCK + "attention.relative_position_bias_table"),
    Rule(_BLOCK + "attn.relative_pos_index", None, "read by reorder_relative_position_bias"),
    Rule(_BLOCK + "attn_mask", None, "follows from the size of the image"),
    Rule(_BLOCK + "attn.qkv.{wb}", _OUR_BLOCK + "attention.qkv.{wb}"),
    Rule(_BLOCK + "attn.proj.{wb}", _OUR_BLOCK + "attention.projection.{wb}"),
    Rule(_BLOCK + "mlp.fc{n}.{wb}", _OUR_BLOCK + "linear{n}.{wb}"),
]

RULES_2 = [*SWIN_2, *RESNET, *PIXEL_DECODER, *TRANSFORMER_DECODER]


def _without_model(rule: Rule) -> Rule:
    return replace(rule, source=rule.source.removeprefix("model."))


RULES_3 = [
    *map(_without_model, [*SWIN_IN_MEMORY, *NORMS, *PIXEL_DECODER, *TRANSFORMER_DECODER]),
    Rule(
        "transformer_module.decoder.layers.{i}.cross_attn.out_proj_{wb}",
        "transformer_decoder.layers.{i}.cross_attention.output_projection.{wb}",
        "named with an underscore there",
    ),
]


def reorder_relative_position_bias(arrays: Mapping[str, mx.array]) -> Mapping[str, mx.array]:
    """Reorder the rows of relative position bias tables that were trained with another index.

    The index of a model that lucid 2 initialized is (column, row), that of a model that it converted (row, column),
    which is ours. Each file contains the index that it was trained with.

    Args:
        arrays: of the checkpoint, by key.

    Returns:
        The same arrays in the same shapes; tables with another index are reordered.

    Raises:
        InputError: if an index and its table do not fit together.
    """
    reordered = dict(arrays)
    for key, index in arrays.items():
        table_key = key.removesuffix("relative_pos_index") + "relative_position_bias_table"
        if not key.endswith(".relative_pos_index") or table_key not in arrays:
            continue
        stored, table = np.array(index).astype(np.int64).reshape(-1), reordered[table_key]
        window = round(stored.size**0.25)
        rows = (2 * window - 1) ** 2
        if stored.size != window**4 or table.shape[0] != rows or stored.min() < 0 or stored.max() >= rows:
            raise InputError(f"{key} does not fit {table_key}, which has {table.shape[0]} rows")
        standard = np.array(relative_position_index(window))
        if not np.array_equal(stored, standard):
            order = np.zeros(rows, np.int64)
            order[standard] = stored
            reordered[table_key] = table[mx.array(order)]
    return reordered

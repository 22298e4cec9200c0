"""lucid 3's names of the configuration's fields."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lucid_mlx.models.vision.mask2former import Mask2FormerConfig

# lucid 3's names by this package's; those that are the same in both are not listed.
LUCID_3_NAMES = {
    "num_labels": "num_classes",
    "num_channels": "in_channels",
    "feature_size": "d_model",
    "hidden_dim": "d_model",
    "num_attention_heads": "n_head",
    "encoder_layers": "num_encoder_layers",
    "decoder_layers": "num_decoder_layers",
    "use_auxiliary_loss": "deep_supervision",
}
LUCID_3_SWIN = ("embed_dim", "depths", "num_heads", "window_size", "mlp_ratio")  # with swin_ before them there


def is_lucid3_config(config: Mapping[str, Any]) -> bool:
    """Return whether the contents of a `config.json` have lucid 3's names."""
    return "num_classes" in config and "d_model" in config


def from_lucid3(config: Mapping[str, Any]) -> Mask2FormerConfig:
    """Read lucid 3's configuration of Mask2Former.

    Args:
        config: its fields.

    Returns:
        The configuration of the same network.

    Raises:
        InputError: if a value does not fit.
    """
    names = {field.name: LUCID_3_NAMES.get(field.name, field.name) for field in fields(Mask2FormerConfig)}
    values = {ours: config[theirs] for ours, theirs in names.items() if theirs in config}
    values["feature_strides"] = list(config.get("feature_strides", (4, 8, 16, 32)))
    backbone = {
        "model_type": "swin",
        "num_channels": values.get("num_channels", 3),
        "drop_path_rate": 0.0,  # lucid 3 has none
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    for name in LUCID_3_SWIN:
        value = config.get(f"swin_{name}")
        if value is not None:
            backbone[name] = list(value) if isinstance(value, list | tuple) else value
    return Mask2FormerConfig(**{**values, "backbone_config": backbone})

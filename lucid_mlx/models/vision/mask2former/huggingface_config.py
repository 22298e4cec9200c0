"""A Hugging Face `config.json` in lucid's terms, and the way back.

That family stores its own defaults by leaving them out, renames two fields, counts classes through `id2label`
and carries dozens of keys that say nothing about the network. What would change the network in a way that this
package does not follow is refused.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones import ResNetConfig, parse_backbone_config
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value

if TYPE_CHECKING:
    from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig

_RENAMED = {"hidden_size": "hidden_dim", "num_hidden_layers": "decoder_layers"}

# Defaults that transformers leaves out of a backbone's dictionary, and differ from ours or decide the shape.
_BACKBONE_DEFAULTS: dict[str, dict[str, Any]] = {
    "swin": {
        "patch_size": 4,
        "embed_dim": 96,
        "depths": [2, 2, 6, 2],
        "num_heads": [3, 6, 12, 24],
        "window_size": 7,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "drop_path_rate": 0.1,
        "layer_norm_eps": 1e-5,
    },
    "resnet": {
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
        "downsample_in_bottleneck": False,
    },
}

# The only values of other keys that describe the networks of this package.
_REQUIRED: dict[str, dict[str, Any]] = {
    "swin": {
        "use_absolute_embeddings": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    "resnet": {"hidden_act": "relu", "downsample_in_first_stage": False},
}

_STAGES = ["stage1", "stage2", "stage3", "stage4"]

# What a configuration without a backbone means to transformers.
_DEFAULT_BACKBONE = {
    "model_type": "swin",
    "depths": [2, 2, 18, 2],
    "drop_path_rate": 0.3,
    "out_features": _STAGES,
}


def fields_from_huggingface(raw: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Translate a Hugging Face dictionary into arguments of `Mask2FormerConfig`.

    Args:
        raw: the contents of `config.json`.
        known: names of the fields of `Mask2FormerConfig`.

    Returns:
        Arguments of `Mask2FormerConfig` by name.

    Raises:
        InputError: if it describes another kind of model, or a backbone that is not supported.
    """
    check_value("the configuration", raw, Mapping)
    if raw.get("model_type") != "mask2former":
        raise InputError(f"the configuration is of a {shown(raw.get('model_type'))} model, expected 'mask2former'")
    renamed = {_RENAMED.get(key, key): value for key, value in raw.items()}
    values = {key: value for key, value in renamed.items() if key in known}
    if isinstance(raw.get("id2label"), Mapping | list):
        values.setdefault("num_labels", len(raw["id2label"]))
    values.setdefault("num_labels", 2)  # transformers' default, and therefore left out
    if isinstance(values.get("feature_strides"), tuple):  # as transformers has it in memory
        values["feature_strides"] = list(values["feature_strides"])
    values["backbone_config"] = _backbone(raw)
    values["num_channels"] = values["backbone_config"]["num_channels"]  # transformers has it nowhere else
    return values


def _backbone(raw: Mapping[str, Any]) -> dict[str, Any]:
    backbone: Any = raw.get("backbone_config")
    if backbone is None:
        if raw.get("backbone"):
            raise InputError(
                f"the backbone {shown(raw['backbone'])} is given by name alone; expected a backbone_config"
            )
        backbone = _DEFAULT_BACKBONE
    check_value("backbone_config", backbone, Mapping)
    kind = backbone.get("model_type")
    if not isinstance(kind, str) or kind not in _BACKBONE_DEFAULTS:
        raise InputError(f"the backbone {shown(kind)} is not supported; expected one of {sorted(_BACKBONE_DEFAULTS)}")
    for key, value in _REQUIRED[kind].items():
        if backbone.get(key, value) != value:
            raise InputError(f"a {kind} backbone with {key}={shown(backbone[key])} is not supported, only {value!r}")
    if (backbone.get("out_features") or _STAGES) not in (_STAGES, tuple(_STAGES)):
        raise InputError(f"the backbone must return {_STAGES}, got out_features={shown(backbone['out_features'])}")
    values = {key: backbone.get(key, default) for key, default in _BACKBONE_DEFAULTS[kind].items()}
    patch = values.get("patch_size")
    if isinstance(patch, list | tuple):
        if not patch or any(side != patch[0] for side in patch):
            raise InputError(f"patches must be square, got patch_size={shown(patch)}")
        values["patch_size"] = patch[0]
    return {"model_type": kind, "num_channels": backbone.get("num_channels", 3), **values}


def to_huggingface(config: "Mask2FormerConfig") -> dict[str, Any]:
    """Translate a configuration into the contents of a Hugging Face `config.json`.

    Args:
        config: of the network.

    Returns:
        Values for JSON.

    Raises:
        InputError: if transformers does not build that network.
    """
    if config.backbone_config is None:
        raise InputError("a backbone that was passed to the model has no Hugging Face configuration")
    backbone = parse_backbone_config(config.backbone_config)
    kind = config.backbone_config["model_type"]
    shape = {key: value for key, value in _json_values(backbone).items() if key in _BACKBONE_DEFAULTS[kind]}
    if isinstance(backbone, ResNetConfig):
        if backbone.stem != "plain":
            raise InputError(f"transformers' ResNet has no {backbone.stem} stem: it cannot build this network")
        shape["layer_type"] = "bottleneck" if backbone.bottleneck else "basic"
    values = _json_values(config)
    for name in ("num_labels", "num_channels", "dilation"):  # told by other keys, or by none
        del values[name]
    return {
        "model_type": "mask2former",
        "architectures": ["Mask2FormerForUniversalSegmentation"],
        **values,
        "backbone_config": {
            "model_type": kind,
            "num_channels": config.num_channels,
            **shape,
            **_REQUIRED[kind],
            "out_features": list(_STAGES),
        },
        "id2label": {str(number): label for number, label in config.id2label.items()},
        "label2id": {label: number for number, label in config.id2label.items()},
    }


def _json_values(config: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON has them; where transformers wants a float it takes no whole number."""
    values = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if item.type is float:
            value = float(value)
        elif isinstance(value, list | tuple):
            value = list(value)
        values[item.name] = value
    return values

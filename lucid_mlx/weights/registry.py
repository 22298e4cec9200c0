"""The registry of lucid's weights: the address, digest and configuration of each file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from importlib.resources import files
from os import PathLike
from typing import Any

from lucid_mlx.datasets import DATASETS, dataset_classes
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value

REPOSITORY = "hf://ChanLumerico/lucid@main"

# The Mask2Former files are the original project's models, whose model zoo is for non-commercial use.
ZOO_LICENSE = "cc-by-nc-4.0"

_ENUM_WORDS = {"mask2former": "Mask2Former", "resnet": "ResNet"}

# What the published models have in common; tests compare it with the defaults of `Mask2FormerConfig`.
_PUBLISHED: dict[str, Any] = {
    "feature_size": 256,
    "mask_feature_size": 256,
    "hidden_dim": 256,
    "num_channels": 3,
    "encoder_layers": 6,
    "encoder_feedforward_dim": 1024,
    "decoder_layers": 10,
    "dim_feedforward": 2048,
    "num_attention_heads": 8,
    "feature_strides": [4, 8, 16, 32],
    "common_stride": 4,
    "enforce_input_projection": False,
    "activation_function": "relu",
    "pre_norm": False,
    "dropout": 0.0,
    "init_std": 0.02,
    "init_xavier_std": 1.0,
    "dilation": False,
    "class_weight": 2.0,
    "mask_weight": 5.0,
    "dice_weight": 5.0,
    "no_object_weight": 0.1,
    "train_num_points": 12544,
    "oversample_ratio": 3.0,
    "importance_sample_ratio": 0.75,
    "use_auxiliary_loss": True,
    "output_auxiliary_logits": None,
    "output_attentions": False,
    "output_hidden_states": False,
}

_SWIN: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]},
    "small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24]},
    "base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]},
    "large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]},
}


@dataclass(frozen=True)
class WeightEntry:
    """A registered file of weights, with lucid's fields.

    Attributes:
        url: its address, `hf://owner/repository@revision/path`.
        sha256: its digest; checked whenever the file is used.
        tag: its name within its enumeration.
        dataset: that it was trained on, such as "coco_panoptic"; None for a backbone.
        meta: lucid's `hf_repo`, `hf_revision`, `hf_filename`, `parameter_size`, `family`, `enum_name` and `config`;
            and `model`, `parameters` (as `parameter_size`) and `license`.
    """

    url: str
    sha256: str
    tag: str
    dataset: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any] | None:
        """Arguments of `Mask2FormerConfig`; None for a backbone."""
        config: dict[str, Any] | None = self.meta.get("config")
        return config


class WeightsEnum(Enum):
    """The weights of one network; each member's value is a `WeightEntry`."""

    @property
    def config(self) -> dict[str, Any] | None:
        """Arguments of `Mask2FormerConfig`; None for a backbone."""
        value: WeightEntry = self.value
        return value.config


WeightsLike = str | PathLike[str] | WeightEntry | WeightsEnum
"""What a user may write for weights: a path, a name, an address, a tag, a member (see `parse_address`)."""


def registry_entry(model: str, tag: str) -> WeightEntry:
    """Make an entry from the table `registry.json`.

    Args:
        model: the network, such as "mask2former_swin_tiny".
        tag: one of its tags, or "DEFAULT".

    Returns:
        The entry.
    """
    rows = _table()[model]
    name = rows["DEFAULT"] if tag == "DEFAULT" else tag
    row = rows[name]
    repository, revision = REPOSITORY.removeprefix("hf://").split("@")
    meta: dict[str, Any] = {
        "hf_repo": repository,
        "hf_revision": revision,
        "hf_filename": row["path"].rsplit("/", 1)[1],
        "parameter_size": row["parameters"],
        "family": row["path"].split("/")[1],
        "enum_name": "_".join(_ENUM_WORDS.get(word, word.capitalize()) for word in (*model.split("_"), "weights")),
        "model": model,
        "parameters": row["parameters"],
        "license": None,
    }
    dataset = name.lower() if name.lower() in DATASETS else None
    if dataset is not None:
        meta |= {"license": ZOO_LICENSE, "config": _config(model.rsplit("_", 1)[1], dataset)}
    return WeightEntry(f"{REPOSITORY}/{row['path']}", row["sha256"], tag, dataset, meta)


def _config(size: str, dataset: str) -> dict[str, Any]:
    """Return all fields of `Mask2FormerConfig`, as lucid's entries have them."""
    large = size in ("base", "large")
    return {
        **_PUBLISHED,
        "num_labels": len(dataset_classes(dataset)),
        # The original's Swin-L models have 200 queries, except for the semantic ones.
        "num_queries": 200 if size == "large" and not dataset.endswith("semantic") else 100,
        "backbone_config": {
            "model_type": "swin",
            "image_size": 384 if large else 224,
            "patch_size": 4,
            "num_channels": 3,
            **_SWIN[size],
            "window_size": 12 if large else 7,
            "drop_path_rate": 0.3,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
            "out_indices": [1, 2, 3, 4],
            "hidden_sizes": [_SWIN[size]["embed_dim"] * 2**stage for stage in range(4)],
        },
    }


@lru_cache
def _table() -> Mapping[str, Any]:
    table: dict[str, Any] = json.loads((files("lucid_mlx.weights") / "registry.json").read_text(encoding="utf-8"))
    return table


def _enums() -> dict[str, type[WeightsEnum]]:
    return {next(iter(enum)).value.meta["model"]: enum for enum in WeightsEnum.__subclasses__()}


def get_enum(model_key: str) -> type[WeightsEnum]:
    """Return the weights enumeration of a network.

    Args:
        model_key: the network, such as "mask2former_swin_tiny", in any capitalization.

    Returns:
        The enumeration.

    Raises:
        InputError: if no weights of it are registered.
    """
    check_value("model_key", model_key, str)
    enums = _enums()
    if model_key.lower() not in enums:
        raise InputError(f"there are no weights of {shown(model_key)}; expected one of {', '.join(enums)}")
    return enums[model_key.lower()]


def resolve(weights: Enum | WeightEntry | str, *, model_key: str | None = None) -> WeightEntry:
    """Return the registry entry of a member or tag.

    Args:
        weights: a member, an entry, a tag of `model_key`, or a network and a tag in one: "swin_tiny:IMAGENET1K".
        model_key: the network, if `weights` is a tag alone.

    Returns:
        The entry.

    Raises:
        InputError: if there is no such network or tag. (lucid uses the default for a tag that it does not know.)
    """
    if isinstance(weights, WeightEntry):
        return weights
    if isinstance(weights, WeightsEnum):
        member: WeightEntry = weights.value
        return member
    if not isinstance(weights, str):
        raise InputError(f"weights must be a member of a weights enumeration or a tag, got {shown(weights, 80)}")
    model, _, tag = weights.rpartition(":")
    if not model:
        if model_key is None:
            raise InputError(
                f"{shown(weights)} is the tag of which network? Write it as network:tag, or pass model_key"
            )
        model = model_key
    enum = get_enum(model)
    if tag.upper() not in enum.__members__:
        raise InputError(f"{shown(model)} has no weights {shown(tag)}; expected one of {', '.join(enum.__members__)}")
    found: WeightEntry = enum[tag.upper()].value
    return found


def list_available(model_key: str) -> dict[str, WeightEntry]:
    """Return the entries of a network by tag; an empty dictionary if it has no registered weights."""
    check_value("model_key", model_key, str)
    enum = _enums().get(model_key.lower())
    return {} if enum is None else {member.name: member.value for member in enum}

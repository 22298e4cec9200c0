"""lucid's own files of two registered weights, in the fake hub."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from fake_hub import Hub
from helpers import SIZES, SWIN

import lucid_mlx.weights as W
from lucid_mlx import models
from lucid_mlx.convert.backbone import TORCHVISION_RESNET
from lucid_mlx.convert.lucid import RULES_2
from lucid_mlx.convert.rules import invert, rename, to_torch_layout
from lucid_mlx.utils.parameters import named_parameters

_INVERSE = invert(RULES_2)


def publish(hub: Hub, monkeypatch: pytest.MonkeyPatch, member: W.WeightsEnum, config: dict[str, Any], folder: Path):
    """Publish a random network in lucid 2's format at the address of a registered file; return its query features.

    The registry entry gets the file's digest and the network's configuration.
    """
    mx.random.seed(len(hub.files))
    model = models.Mask2Former(models.Mask2FormerConfig(**config))
    model.set_dtype(mx.float16)
    _put(
        hub,
        monkeypatch,
        member,
        _INVERSE,
        named_parameters(model),
        folder,
        {**member.value.meta, "config": config},
    )
    return np.array(model.transformer_decoder.query_features)


def publish_resnet_18(hub: Hub, monkeypatch: pytest.MonkeyPatch, member: W.WeightsEnum, folder: Path):
    """Publish a random ResNet-18 with torchvision's keys at the address of a registered file; return its arrays."""
    model = models.mask2former_resnet_18(3)
    model.set_dtype(mx.float16)
    arrays = {name: array for name, array in named_parameters(model).items() if name.startswith("backbone.")}
    _put(hub, monkeypatch, member, invert(TORCHVISION_RESNET), arrays, folder, member.value.meta)
    return arrays


def _put(hub, monkeypatch, member, rules, ours, folder, meta):
    arrays, problems = rename(rules, to_torch_layout(rules, ours))
    assert not problems
    mx.save_safetensors(str(folder / "lucid.safetensors"), arrays)
    data = (folder / "lucid.safetensors").read_bytes()
    repository, _, file = member.value.url.removeprefix("hf://").partition("@main/")
    hub.files.setdefault(repository, {})[file] = data
    entry = replace(member.value, sha256=hashlib.sha256(data).hexdigest(), meta=meta)
    monkeypatch.setattr(member, "_value_", entry)


def small(**kwargs: Any) -> dict[str, Any]:
    return {**SIZES, "num_labels": 150, "backbone_config": SWIN, **kwargs}

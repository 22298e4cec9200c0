"""Every family of checkpoints: the reference's weights under its keys, converted, give the reference's logits."""

import pickle
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import families
import mlx.core as mx
import numpy as np
import pytest
import torch
from reference import STAGES, build, photo_batch, small_config
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig

import lucid_mlx
from lucid_mlx.convert import convert
from lucid_mlx.convert.families import FAMILIES, detect_family
from lucid_mlx.convert.source import read_source


def _resnet() -> ResNetConfig:
    return ResNetConfig(embedding_size=16, hidden_sizes=[32, 48, 64, 80], depths=[1, 2, 1, 1], out_features=STAGES)


@pytest.fixture(scope="module", params=["swin", "resnet"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A reference model, its state dict as saved and as in memory."""
    folder = tmp_path_factory.mktemp(request.param)
    # The configuration can be inferred: the pixel decoder has 4 points, and its heads follow from the shapes.
    config = small_config(**({"backbone_config": _resnet()} if request.param == "resnet" else {}))
    model = build(config, folder)
    return model, load_file(folder / "model.safetensors"), dict(model.state_dict())


def assert_same_logits(model: torch.nn.Module, path: Path, destination: Path, **options: Any) -> None:
    ours = lucid_mlx.load(convert(path, destination, **options))
    pixels = photo_batch(96, 130)
    got = ours(mx.array(pixels))
    with torch.inference_mode():
        wanted = model(torch.from_numpy(pixels))
    for key in ("class_queries_logits", "masks_queries_logits"):
        error = np.abs(np.array(got[key]) - wanted[key].numpy()).max() / wanted[key].abs().max().item()
        assert error <= 1e-4, f"{key} is off by {error:.1e}"


def saved(state: families.State, path: Path) -> Path:
    """Write a state dict as the family publishes it."""
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    elif path.suffix == ".pkl":
        arrays = {key: value.numpy() for key, value in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "third_party", "matching_heuristics": True}))
    else:
        tree = {"meta": {"epoch": 50, "classes": ("a", "b")}, "state_dict": OrderedDict(state)}
        torch.save(tree, path, _use_new_zipfile_serialization=path.suffix == ".pt")
    return path


CASES = {
    "detectron2": (lambda saved, memory: families.detectron2(saved), "model_final.pkl"),
    "detectron2, version 1": (lambda saved, memory: families.detectron2(saved, old=True), "model_final.pkl"),
    "mmdet": (lambda saved, memory: families.openmmlab(saved), "published.pth"),
    "mmdet before 3": (lambda saved, memory: families.openmmlab(saved, before_3=True), "published.pth"),
    "mmseg": (lambda saved, memory: families.openmmlab(saved, head="decode_head."), "published.pt"),
    "lucid 2": (lambda saved, memory: families.lucid2(saved), "lucid.safetensors"),
    "transformers in memory": (lambda saved, memory: memory, "pytorch_model.bin"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_of_each_family_gives_the_reference_s_logits(name: str, reference: Any, tmp_path: Path) -> None:
    model, state, memory = reference
    rename, file = CASES[name]
    assert_same_logits(model, saved(rename(state, memory), tmp_path / file), tmp_path / "ours")


@pytest.mark.parametrize("reference", ["swin"], indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_two_swapped_names_in_a_rule_are_detected(
    name: str, reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, state, memory = reference
    rename, file = CASES[name]
    path = saved(rename(state, memory), tmp_path / file)
    family = detect_family(read_source(path).arrays)
    swap = {"attention_norm": "feedforward_norm", "feedforward_norm": "attention_norm"}
    rules = []
    for rule in family.rules:
        if isinstance(rule.target, str) and rule.target.startswith("pixel_decoder.layers.{i}."):
            target = re.sub(r"\w+(?=\.\{wb\}$)", lambda name: swap.get(name[0], name[0]), rule.target)
            rule = replace(rule, target=target)
        rules.append(rule)
    assert rules != family.rules
    monkeypatch.setitem(FAMILIES, family.name, replace(family, rules=rules))
    with pytest.raises(AssertionError, match="is off by"):
        assert_same_logits(model, path, tmp_path / "ours")


SWIN_CASES = {
    "lucid 3": (lambda saved, memory: families.lucid3(memory), "lucid.safetensors"),
    "lucid 2, tables by column": (lambda saved, memory: families.lucid2(saved, by_column=True), "lucid.safetensors"),
}


@pytest.mark.parametrize("reference", ["swin"], indirect=True)
@pytest.mark.parametrize("name", SWIN_CASES)
def test_a_swin_checkpoint_gives_the_reference_s_logits(name: str, reference: Any, tmp_path: Path) -> None:
    model, state, memory = reference
    rename, file = SWIN_CASES[name]
    assert_same_logits(model, saved(rename(state, memory), tmp_path / file), tmp_path / "ours")


def test_a_sharded_hugging_face_folder_gives_the_reference_s_logits(reference: Any, tmp_path: Path) -> None:
    model, _, _ = reference
    model.save_pretrained(tmp_path / "theirs", max_shard_size="200KB")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
    assert_same_logits(model, tmp_path / "theirs", tmp_path / "ours")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_read(dtype: torch.dtype, reference: Any, tmp_path: Path) -> None:
    _, state, _ = reference
    cast = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    for file in ("model.safetensors", "model.pth", "model.pt"):
        model = lucid_mlx.load(convert(saved(cast, tmp_path / file), tmp_path / f"ours {file}"))
        stored = mx.float32 if dtype == torch.float64 else getattr(mx, str(dtype).removeprefix("torch."))
        assert model.dtype == stored
        got = np.array(model.transformer_decoder.query_features.astype(mx.float32))
        assert np.array_equal(got, cast["model.transformer_module.queries_features.weight"].float().numpy())

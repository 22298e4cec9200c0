"""`--verify`: correct and wrong conversions."""

from pathlib import Path

import families
import mlx.core as mx
import pytest
import torch
from click.testing import CliRunner
from reference import build, small_config
from safetensors.torch import load_file

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.cli.main import main
from lucid_mlx.convert import convert
from lucid_mlx.convert.source import SourceCheckpoint, read_source
from lucid_mlx.profiling.verification import verify
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights.checkpoint import write_checkpoint


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    build(small_config(), folder)
    return folder


def test_a_correct_conversion_agrees_with_transformers(source: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["convert", str(source), str(tmp_path / "ours"), "--verify"])
    assert result.exit_code == 0, result.output
    assert "verified against transformers: logits within" in result.output
    found = verify(read_source(source), tmp_path / "ours")
    assert found.error < 1e-4
    assert found.changed < 1e-3


def test_wrong_and_rounded_weights_are_detected(source: Path, tmp_path: Path) -> None:
    wrong = convert(source, tmp_path / "wrong")
    arrays, metadata = mx.load(str(wrong / "model.safetensors"), return_metadata=True)
    name = "pixel_decoder.layers.0.linear1.bias"
    arrays[name] = arrays[name][::-1]
    mx.eval(arrays)
    mx.save_safetensors(str(wrong / "model.safetensors"), arrays, metadata)
    assert verify(read_source(source), wrong).error > 1e-3
    rounded = convert(source, tmp_path / "rounded", dtype=mx.bfloat16)
    assert 1e-3 < verify(read_source(source), rounded).error < 1


@pytest.mark.parametrize("quantize", [[], ["--quantize", "8"]])
def test_a_source_of_another_system_is_verified_through_an_export(
    source: Path, tmp_path: Path, quantize: list[str]
) -> None:
    state = families.detectron2(load_file(source / "model.safetensors"))
    path = tmp_path / "model_final.pth"
    torch.save({"model": state, "iteration": 3}, path)
    arguments = ["convert", str(path), str(tmp_path / "ours"), "--verify", *quantize]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "the written weights, exported to transformers" in result.output
    assert verify(read_source(path), tmp_path / "ours").error < 1e-4


def test_a_network_that_transformers_does_not_build_is_told(tmp_path: Path) -> None:
    backbone = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
    model = lucid_mlx.models.Mask2Former(
        lucid_mlx.models.Mask2FormerConfig(3, backbone_config={**backbone, "stem": "deep"}, encoder_layers=1)
    )
    write_checkpoint(tmp_path / "ours", model.config.to_dict(), named_parameters(model), {}, {})
    with pytest.raises(InputError, match="deep stem"):
        verify(SourceCheckpoint("x", {}, [tmp_path / "x.pkl"], {}), tmp_path / "ours")

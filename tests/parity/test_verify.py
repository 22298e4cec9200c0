"""`--verify`: correct and wrong conversions."""

from pathlib import Path

import mlx.core as mx
import pytest
from click.testing import CliRunner
from reference import build, small_config

from lucid_mlx import InputError
from lucid_mlx.cli.main import main
from lucid_mlx.convert import convert
from lucid_mlx.convert.source import read_source
from lucid_mlx.profiling.verification import verify


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


def test_a_source_that_cannot_be_run_is_reported(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.safetensors cannot be run here"):
        verify(read_source(source / "model.safetensors"), convert(source, tmp_path / "ours"))

"""Converting what is converted already: another type, quantization or names, and the way back."""

import json

import mlx.core as mx
import numpy as np
import pytest
from helpers import run_cli, write_huggingface

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.weights import read_checkpoint


@pytest.fixture
def ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return convert(write_huggingface(tmp_path / "theirs"), tmp_path / "swin-mlx")


def test_without_a_change_it_says_what_can_be_changed(ours):
    with pytest.raises(InputError, match="load it as it is, or say what to change: --dtype, --quantize, --class-names"):
        convert(ours, "again")
    for options in ({"key": "model"}, {"ema": True}, {"family": "lucid2"}, {"config": "x.yaml"}):
        with pytest.raises(InputError, match="is converted already: leave out"):
            convert(ours, "again", dtype=mx.float16, **options)


def test_type_names_and_quantization_change_and_all_else_is_kept(ours):
    half = convert(ours, "half", dtype=mx.float16, labels=["a", "b", "c"])
    before, after = read_checkpoint(ours), read_checkpoint(half)
    assert {array.dtype for array in after.arrays.values()} == {mx.float16}
    assert after.config["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert (after.metadata, after.preprocessor) == (before.metadata, before.preprocessor)
    packed = convert(ours / "model.safetensors", "packed", quantize_bits=8, group_size=32)
    assert json.loads((packed / "config.json").read_text())["quantization"]["bits"] == 8
    assert lucid_mlx.load(packed).config.id2label[0] == "cup"


def test_a_quantized_folder_becomes_floating_point_which_is_told(ours):
    run_cli("convert", ours, "--quantize", "8", "--group-size", "32")
    told = run_cli("convert", "swin-mlx-8bit", "--dtype", "float32")
    assert "its layers had 8 bits, and are as inaccurate as before" in told.stderr
    run_cli("convert", "swin-mlx-float32", "--to", "huggingface")
    arrays, source = read_checkpoint(ours).arrays, lucid_mlx.load("swin-huggingface").parameters()
    weight = np.array(source["backbone"]["stages"][0]["blocks"][0]["linear1"]["weight"])
    assert np.allclose(weight, np.array(arrays["backbone.stages.0.blocks.0.linear1.weight"]), atol=1e-2)


def test_it_is_not_replaced_while_it_is_read(ours):
    with pytest.raises(InputError, match="is the source; choose another destination"):
        convert(ours, ours, dtype=mx.float16, force=True)


def test_a_dry_run_lists_its_tensors(ours):
    lines = run_cli("convert", ours, "--dtype", "float16", "--dry-run").stdout.splitlines()
    keys = [line.split(" -> ")[0] for line in lines if " -> " in line]
    assert "transformer_decoder.norm.bias" in keys
    assert keys == sorted(keys)


def test_a_full_disk_is_told_before_anything_is_written(ours, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match=r"half cannot be written: no space left: it takes \d+ MB, and 0 MB are free"):
        convert(ours, "half", dtype=mx.float16)
    assert not (ours.parent / "half").exists()

import json

import mlx.core as mx
import numpy as np
import pytest
from helpers import huggingface_arrays, write_huggingface

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.convert.huggingface import RULES
from lucid_mlx.convert.rules import Rule, rename

BLOCK = "model.pixel_level_module.encoder.encoder.layers.2.blocks.0"
DECODER = "model.transformer_module.decoder.layers.1"


def test_a_converted_folder_holds_the_source_s_weights_in_our_layout(tmp_path):
    source = huggingface_arrays()
    folder = convert(write_huggingface(tmp_path / "theirs", source), tmp_path / "ours")
    model = lucid_mlx.load(folder)
    swin, decoder = model.backbone.stages[2].blocks[0], model.transformer_decoder

    qkv = np.concatenate([source[f"{BLOCK}.attention.self.{name}.weight"] for name in ("query", "key", "value")])
    assert np.array_equal(np.array(swin.attention.qkv.weight), qkv)
    keys = np.split(source[f"{DECODER}.cross_attn.in_proj_weight"], 3)[1]
    assert np.array_equal(np.array(decoder.layers[1].cross_attention.key_projection.weight), keys)
    convolution = source["model.pixel_level_module.decoder.layer_1.0.weight"]
    assert np.array_equal(np.array(model.pixel_decoder.output.conv.weight), convolution.transpose(0, 2, 3, 1))
    pointwise = source["model.pixel_level_module.decoder.mask_projection.weight"]
    assert np.array_equal(np.array(model.pixel_decoder.mask_projection.weight), pointwise[:, :, 0, 0])
    assert np.array_equal(np.array(decoder.query_features), source["model.transformer_module.queries_features.weight"])


def test_labels_image_config_and_provenance_are_kept(tmp_path):
    folder = convert(write_huggingface(tmp_path / "theirs"), tmp_path / "ours")
    assert lucid_mlx.load(folder).config.id2label == {0: "cup", 1: "table", 2: "spoon"}
    assert json.loads((folder / "preprocessor_config.json").read_text())["size"] == {
        "height": 64,
        "width": 64,
    }
    metadata = lucid_mlx.weights.read_checkpoint(folder).metadata
    assert metadata["format"] == "mlx"
    assert metadata["source"] == "theirs"
    assert len(metadata["sha256"]) == 64


def test_names_in_label2id_alone_are_kept(tmp_path):
    theirs = write_huggingface(tmp_path / "theirs")
    config = json.loads((theirs / "config.json").read_text())
    config["label2id"] = {name: int(number) for number, name in config.pop("id2label").items()}
    (theirs / "config.json").write_text(json.dumps(config))
    assert lucid_mlx.load(theirs).config.id2label == {0: "cup", 1: "table", 2: "spoon"}


def test_all_problems_of_the_keys_are_in_one_error(tmp_path):
    arrays = huggingface_arrays()
    del arrays["class_predictor.bias"]
    del arrays[f"{BLOCK}.attention.self.key.weight"]
    arrays["model.surprise"] = np.zeros(3, np.float32)
    arrays["model.transformer_module.level_embed.weight"] = np.zeros((4, 32), np.float32)
    with pytest.raises(InputError) as error:
        convert(write_huggingface(tmp_path / "theirs", arrays), tmp_path / "ours")
    message = str(error.value)
    assert "1 unknown keys: model.surprise" in message
    assert "1 missing: transformer_decoder.class_head.bias" in message
    assert "level_embedding is [4, 32], expected [3, 32]" in message
    assert "backbone.stages.2.blocks.0.attention.qkv.weight is [64, 32], expected [96, 32]" in message
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_the_same_chunk_given_twice_is_reported():
    rules = [Rule("a{i}", "x", chunk=0), Rule("b", "x", chunk=1)]
    _, problems = rename(rules, {"a1": mx.zeros(2), "a2": mx.zeros(2), "b": mx.zeros(2)})
    assert problems == ["1 parameters filled twice: x"]


def test_a_parameter_is_never_filled_twice():
    rules = [Rule("{i}.weight", "x", "two for one")]
    _, problems = rename(rules, {"1.weight": mx.zeros(2), "2.weight": mx.zeros(2)})
    assert problems == ["1 parameters filled twice: x"]


def test_every_rule_has_a_reason():
    assert all(rule.reason for rule in RULES)


def test_a_destination_that_is_not_empty_is_refused_before_any_work(tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        convert(tmp_path / "no such source", taken)
    assert (taken / "precious.txt").read_text() == "mine"


def test_an_empty_destination_is_used(tmp_path):
    (tmp_path / "empty").mkdir()
    folder = convert(write_huggingface(tmp_path / "theirs"), tmp_path / "empty")
    assert (folder / "model.safetensors").is_file()


def test_a_configuration_of_another_size_is_reported(tmp_path):
    source = write_huggingface(tmp_path / "theirs", num_queries=9)
    with pytest.raises(InputError, match=r"query_features is \[6, 32\], expected \[9, 32\]"):
        convert(source, tmp_path / "ours")


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        (f"{DECODER}.cross_attn.in_proj_weight", (95, 32), "do not fit together: .*in_proj_weight"),
        (f"{DECODER}.cross_attn.in_proj_bias", (), "do not fit together: .*in_proj_bias"),
        (f"{BLOCK}.attention.self.key.weight", (32, 31), "do not fit together: .*qkv.weight"),
        (f"{BLOCK}.attention.self.key.weight", (32, 32, 1), "do not fit together: .*qkv.weight"),
    ],
)
def test_arrays_that_cannot_be_split_or_concatenated_are_reported(key, shape, message, tmp_path):
    arrays = {**huggingface_arrays(), key: np.zeros(shape, np.float32)}
    with pytest.raises(InputError, match=message):
        convert(write_huggingface(tmp_path / "theirs", arrays), tmp_path / "ours")


def test_arrays_that_are_not_floats_are_reported(tmp_path):
    arrays = {**huggingface_arrays(), "class_predictor.bias": np.zeros(4, np.int32)}
    with pytest.raises(InputError, match="not of a floating-point type: transformer_decoder.class_head.bias"):
        convert(write_huggingface(tmp_path / "theirs", arrays), tmp_path / "ours")

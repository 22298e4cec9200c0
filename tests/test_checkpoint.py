import json

import mlx.core as mx
import numpy as np
import pytest
from helpers import RESNET, SWIN, small_model
from mlx.utils import tree_flatten

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.weights import read_checkpoint, write_checkpoint


@pytest.fixture
def folder(tmp_path):
    model = small_model()
    arrays = dict(tree_flatten(model.parameters()))
    return write_checkpoint(tmp_path / "model", model.config.to_dict(), arrays, {"source": "a test"}, {"size": 64})


def logits(model):
    return np.array(model(mx.ones((1, 3, 40, 40)))["masks_queries_logits"])


def rewrite(folder, change):
    """Change the weights of a folder."""
    arrays, metadata = mx.load(str(folder / "model.safetensors"), return_metadata=True)
    mx.eval(arrays)
    change(arrays, metadata)
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata)


def test_a_written_model_loads_and_runs_the_same(folder):
    model = lucid_mlx.load(folder)
    assert not model.training
    assert np.array_equal(logits(model), logits(small_model()))
    checkpoint = read_checkpoint(folder)
    assert checkpoint.metadata == {"source": "a test", "format": "mlx"}
    assert checkpoint.preprocessor == {"size": 64}


def test_from_pretrained_loads_into_the_model_and_returns_it(folder):
    model = small_model(seed=1)
    assert model.from_pretrained(str(folder)) is model
    assert np.array_equal(logits(model), logits(small_model()))


def test_a_dtype_can_be_chosen(folder):
    model = lucid_mlx.load(folder, dtype=mx.bfloat16)
    assert model.dtype == mx.bfloat16
    assert model(mx.ones((1, 3, 32, 32)))["class_queries_logits"].dtype == mx.bfloat16


def test_missing_unexpected_and_misshaped_parameters_are_in_one_error_and_nothing_is_loaded(folder):
    def spoil(arrays, metadata):
        del arrays["pixel_decoder.mask_projection.bias"]
        arrays["surplus"] = mx.zeros(3)
        arrays["transformer_decoder.class_head.bias"] = mx.zeros(9)

    rewrite(folder, spoil)
    model = small_model(seed=1)
    before = logits(model)
    with pytest.raises(InputError) as error:
        model.from_pretrained(folder)
    assert "1 missing: pixel_decoder.mask_projection.bias" in str(error.value)
    assert "1 unexpected: surplus" in str(error.value)
    assert "transformer_decoder.class_head.bias is [9], expected [6]" in str(error.value)
    assert np.array_equal(logits(model), before)
    with pytest.raises(InputError, match="1 missing"):
        lucid_mlx.load(folder)


def test_not_strict_loads_parameters_of_the_same_name_but_never_of_another_shape(folder):
    rewrite(
        folder,
        lambda arrays, _: (arrays.pop("transformer_decoder.class_head.bias"), arrays.update(x=mx.zeros(1))),
    )
    model = small_model(seed=1)
    kept = np.array(model.transformer_decoder.class_head.bias)
    model.from_pretrained(folder, strict=False)
    assert np.array_equal(np.array(model.transformer_decoder.class_head.bias), kept)
    assert np.array_equal(
        np.array(model.pixel_decoder.level_embedding), np.array(small_model().pixel_decoder.level_embedding)
    )
    with pytest.raises(InputError, match="of another shape"):
        small_model(num_labels=9).from_pretrained(folder, strict=False)


def test_long_lists_are_cut(folder):
    rewrite(folder, lambda arrays, _: arrays.update({f"surplus{i}": mx.zeros(1) for i in range(130)}))
    with pytest.raises(InputError, match=r"130 unexpected: .* and 30 more"):
        lucid_mlx.load(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_truncated_weights_are_reported(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="model.safetensors is damaged or incomplete"):
        lucid_mlx.load(folder)


def test_a_file_in_another_layout_is_not_read_as_one_in_ours(folder):
    rewrite(folder, lambda _, metadata: metadata.update(format="pt"))
    with pytest.raises(InputError, match="lucid-mlx convert"):
        read_checkpoint(folder)
    with pytest.raises(InputError, match="the keys are of no known family"):
        lucid_mlx.load(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json does not exist"),
        (lambda folder: (folder / "model.safetensors").unlink(), "must hold model.safetensors or a single checkpoint"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "must hold a JSON object, found a list"),
        (lambda folder: (folder / "config.json").write_text('{"queries": 1}'), "unknown keys: 'queries'"),
    ],
)
def test_incomplete_folders_are_reported(folder, spoil, message):
    spoil(folder)
    with pytest.raises(InputError) as error:
        lucid_mlx.load(folder)
    assert message in str(error.value)


def test_a_path_without_a_checkpoint_is_reported(folder, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        lucid_mlx.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="is not a checkpoint file"):
        lucid_mlx.load(folder / "config.json")
    with pytest.raises(InputError, match="is a file"):
        read_checkpoint(folder / "config.json")


def test_a_configuration_that_does_not_match_the_weights_is_reported(folder):
    config = json.loads((folder / "config.json").read_text())
    config["num_queries"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"query_features is \[6, 32\], expected \[7, 32\]"):
        lucid_mlx.load(folder)


def test_a_large_checkpoint_is_written_in_shards(folder, tmp_path, monkeypatch):
    checkpoint = read_checkpoint(folder)
    monkeypatch.setattr("lucid_mlx.weights.checkpoint.MAX_SHARD_SIZE", 50_000)
    sharded = write_checkpoint(tmp_path / "sharded", checkpoint.config, checkpoint.arrays, checkpoint.metadata, {})
    names = sorted(file.name for file in sharded.glob("*.safetensors"))
    assert len(names) > 2
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    assert not (sharded / "model.safetensors").exists()
    assert max(file.stat().st_size for file in sharded.glob("*.safetensors")) < 70_000
    assert np.array_equal(logits(lucid_mlx.load(sharded)), logits(small_model()))
    assert read_checkpoint(sharded).metadata == checkpoint.metadata
    (sharded / names[1]).unlink()
    with pytest.raises(InputError, match=f"{names[1]} does not exist"):
        lucid_mlx.load(sharded)


def test_existing_files_are_not_overwritten(folder):
    before = (folder / "config.json").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        write_checkpoint(folder, {}, {}, {}, {})
    assert (folder / "config.json").read_bytes() == before


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("lucid_mlx.weights.checkpoint.mx.save_safetensors", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_checkpoint(tmp_path / "model", {}, {"a": mx.zeros(1)}, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_floats_are_reported(folder):
    rewrite(folder, lambda arrays, _: arrays.update({"transformer_decoder.norm.bias": mx.zeros(32, mx.int32)}))
    with pytest.raises(InputError, match=r"1 not of a floating-point type: transformer_decoder\.norm\.bias"):
        lucid_mlx.load(folder)


@pytest.mark.parametrize("dtype", ["float15", "int32", "array", mx.int32, 16])
def test_a_dtype_that_is_not_floating_point_is_reported(folder, dtype):
    with pytest.raises(InputError, match="must be a floating-point type"):
        lucid_mlx.load(folder, dtype=dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_norm": True}, "pre_norm is False there and True here"),
        ({"activation_function": "gelu"}, "activation_function is 'relu' there"),
        ({"num_attention_heads": 2}, "num_attention_heads is 4 there|of another shape"),
        ({"backbone_config": {**SWIN, "layer_norm_eps": 1e-6}}, "layer_norm_eps of the backbone is 1e-05 there"),
        ({"backbone_config": RESNET}, "the backbone is a Swin there"),
    ],
)
def test_weights_of_a_network_that_computes_differently_are_refused(folder, change, message):
    with pytest.raises(InputError, match=message):
        small_model(**change).from_pretrained(folder)


def test_labels_come_with_the_weights(folder):
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(number): f"label {number}" for number in range(5)}
    (folder / "config.json").write_text(json.dumps(config))
    assert small_model(seed=1).from_pretrained(folder).config.id2label[3] == "label 3"


def test_a_write_that_fails_removes_the_parent_folders_that_it_created(tmp_path, monkeypatch):
    def full_disk(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("lucid_mlx.weights.checkpoint.mx.save_safetensors", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_checkpoint(tmp_path / "a" / "b" / "model", {}, {"a": mx.zeros(1)}, {}, {})
    assert list(tmp_path.iterdir()) == []


def test_an_empty_current_folder_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    write_checkpoint(".", {"a": 1}, {"a": mx.zeros(1)}, {}, {})
    assert (tmp_path / "empty" / "config.json").exists()

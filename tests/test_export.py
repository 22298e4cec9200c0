import json

import mlx.core as mx
import numpy as np
import pytest
from helpers import RESNET, SWIN, huggingface_arrays, key_list, small_config, small_model, write_huggingface
from hypothesis import given, settings
from hypothesis import strategies as st

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.convert.export import export_huggingface, state_dict
from lucid_mlx.convert.rules import Rule, invert, match_rules, rename
from lucid_mlx.models import Mask2FormerConfig, create_model
from lucid_mlx.models.vision.backbones import parse_backbone_config
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import read_checkpoint, write_checkpoint

BOTTLENECK = {**RESNET, "embedding_size": 4, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 1, 1]}


def bits(array):
    """The dtype, shape and bytes of an array; NumPy cannot compare bfloat16."""
    return array.dtype, array.shape, bytes(memoryview(mx.contiguous(array)))


def write(folder, dtype=mx.float32, preprocessor=(), **kwargs):
    """Write a small model in this package's format."""
    model = small_model(**kwargs)
    model.config.id2label = {number: f"label {number}" for number in range(model.config.num_labels)}
    model.set_dtype(dtype)
    metadata = {"source": "a test", "license": "CC0"}
    return write_checkpoint(folder, model.config.to_dict(), named_parameters(model), metadata, dict(preprocessor))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("export") / "ours")


VARIANTS = {
    "swin": {},
    "swin without qkv bias": {"backbone_config": {**SWIN, "qkv_bias": False, "patch_size": 2}},
    "basic resnet": {"backbone_config": RESNET},
    "bottleneck resnet": {"backbone_config": BOTTLENECK},
    "projected memories, no finest map": {"enforce_input_projection": True, "common_stride": 8},
    "four channels, no layers": {"num_channels": 4, "encoder_layers": 0, "decoder_layers": 1},
    "float16": {"dtype": mx.float16},
    "bfloat16": {"dtype": mx.bfloat16, "backbone_config": RESNET},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_round_trip_keeps_every_array_and_the_configuration(name, tmp_path):
    ours = write(tmp_path / "ours", **VARIANTS[name])
    again = convert(export_huggingface(ours, tmp_path / "theirs"), tmp_path / "again")
    before, after = read_checkpoint(ours), read_checkpoint(again)
    assert after.arrays.keys() == before.arrays.keys()
    for key, array in before.arrays.items():
        assert bits(after.arrays[key]) == bits(array), key
    assert meaning(Mask2FormerConfig.from_dict(after.config)) == meaning(Mask2FormerConfig.from_dict(before.config))


def test_a_converted_checkpoint_is_exported_bit_by_bit(tmp_path):
    source = huggingface_arrays()
    theirs = write_huggingface(tmp_path / "theirs", source)
    exported = export_huggingface(convert(theirs, tmp_path / "ours"), tmp_path / "exported")
    got, metadata = mx.load(str(exported / "model.safetensors"), return_metadata=True)
    # Arrays that the network does not use have their values before training.
    norm = "model.pixel_level_module.encoder.swin.layernorm."
    never_read = {
        norm + "weight": np.ones(64, np.float32),
        norm + "bias": np.zeros(64, np.float32),
        "criterion.empty_weight": np.array([1, 1, 1, 0.1], np.float32),
    }
    assert got.keys() == source.keys()
    for key, wanted in {**source, **never_read}.items():
        assert np.array_equal(np.array(got[key]), wanted), key
    assert metadata["format"] == "pt"
    assert (metadata["source"], len(metadata["sha256"])) == ("theirs", 64)
    config = json.loads((exported / "config.json").read_text())
    assert config["id2label"] == {"0": "cup", "1": "table", "2": "spoon"}
    assert config["label2id"] == {"cup": 0, "table": 1, "spoon": 2}


@pytest.mark.parametrize(("preset", "keys"), [("swin_tiny", "hf_saved_swin_tiny"), ("resnet_50", "hf_resnet_50")])
def test_keys_and_shapes_are_those_that_transformers_saves(preset, keys):
    arrays = state_dict(create_model(f"mask2former_{preset}", num_labels=150))
    assert {key: tuple(array.shape) for key, array in arrays.items()} == key_list(keys)
    counters = {array.dtype for key, array in arrays.items() if key.endswith("num_batches_tracked")}
    assert counters <= {mx.int64}


def test_input_projections_are_convolutions_in_transformers():
    arrays = state_dict(small_model(enforce_input_projection=True))
    name = "model.transformer_module.input_projections.2."
    assert arrays[name + "weight"].shape == (32, 32, 1, 1)
    assert arrays[name + "bias"].shape == (32,)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_configuration_names_the_stored_type(dtype, tmp_path):
    theirs = export_huggingface(write(tmp_path / "ours", getattr(mx, dtype)), tmp_path / "theirs")
    assert json.loads((theirs / "config.json").read_text())["dtype"] == dtype
    assert mx.load(str(theirs / "model.safetensors"))["criterion.empty_weight"].dtype == getattr(mx, dtype)


def test_the_configuration_of_mixed_types_names_the_type_that_holds_all(folder, tmp_path):
    checkpoint = read_checkpoint(folder)
    name = "transformer_decoder.class_head.weight"
    arrays = {key: array if key == name else array.astype(mx.float16) for key, array in checkpoint.arrays.items()}
    mixed = write_checkpoint(tmp_path / "ours", checkpoint.config, arrays, {}, {})
    theirs = export_huggingface(mixed, tmp_path / "theirs")
    assert json.loads((theirs / "config.json").read_text())["dtype"] == "float32"
    assert bits(mx.load(str(theirs / "model.safetensors"))["class_predictor.weight"]) == bits(arrays[name])


def test_image_config_source_and_license_are_kept(tmp_path):
    image_config = {"size": {"shortest_edge": 800, "longest_edge": 1333}, "ignore_index": 0}
    theirs = export_huggingface(write(tmp_path / "ours", preprocessor=image_config), tmp_path / "theirs")
    written = json.loads((theirs / "preprocessor_config.json").read_text())
    assert written == {**image_config, "image_processor_type": "Mask2FormerImageProcessor"}
    _, metadata = mx.load(str(theirs / "model.safetensors"), return_metadata=True)
    assert metadata == {"format": "pt", "source": "a test", "license": "CC0"}


def test_without_an_image_config_the_published_one_is_written(folder, tmp_path):
    theirs = export_huggingface(folder, tmp_path / "theirs")
    written = json.loads((theirs / "preprocessor_config.json").read_text())
    assert ImageConfig.from_dict(written) == ImageConfig()
    assert written["size"] == {"height": 384, "width": 384}
    assert (written["resample"], written["size_divisor"], written["ignore_index"]) == (2, 32, 255)
    assert written["image_processor_type"] == "Mask2FormerImageProcessor"


def test_an_exported_folder_is_not_exported_again(folder, tmp_path):
    theirs = export_huggingface(folder, tmp_path / "theirs")
    with pytest.raises(InputError, match="not in MLX's layout"):
        export_huggingface(theirs, tmp_path / "again")
    assert lucid_mlx.load(theirs).config.id2label == lucid_mlx.load(folder).config.id2label


def test_a_destination_that_is_not_empty_is_refused_before_any_work(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_huggingface(tmp_path / "no such source", tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantization": {"bits": 4}}, "convert again without --quantize"),
        ({"backbone_config": None}, "a backbone that was passed to the model"),
        ({"backbone_config": {**RESNET, "stem": "deep"}}, "has no deep stem"),
        ({"num_queries": 7}, r"query_features is \[6, 32\], expected \[7, 32\]"),
        ({"common_stride": 8}, "unexpected: pixel_decoder.lateral.linear.weight"),
        ({"surprise": 1}, "unknown keys: 'surprise'"),
    ],
)
def test_an_export_that_fails_leaves_nothing_behind(change, message, folder, tmp_path):
    checkpoint = read_checkpoint(folder)
    ours = write_checkpoint(tmp_path / "ours", {**checkpoint.config, **change}, checkpoint.arrays, {}, {})
    with pytest.raises(InputError, match=message):
        export_huggingface(ours, tmp_path / "theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_a_missing_source_is_reported(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        export_huggingface(tmp_path / "nothing", tmp_path / "theirs")


def test_parameters_without_an_inverse_rule_are_reported():
    model = small_model()
    model.backbone.surprise = mx.zeros(3)
    with pytest.raises(InputError, match="cannot be written for transformers: 1 unknown keys: backbone.surprise"):
        state_dict(model)


class TestInvert:
    def test_steps_of_numbers_are_inverted(self):
        [rule] = invert([Rule("a{i}.{j}.{wb}", "b.{j}.{i-2}.{wb}")])
        assert match_rules([rule], ["b.7.0.bias"]) == {"b.7.0.bias": (rule, ["a2.7.bias"])}
        assert invert([rule]) == [Rule("a{i}.{j}.{wb}", ("b.{j}.{i-2}.{wb}",))]

    def test_concatenated_arrays_are_split_and_split_ones_are_concatenated(self):
        rules = [Rule("k", "all", chunk=1), Rule("q", "all", chunk=0), Rule("in", ("x", "y")), Rule("counter", None)]
        arrays = {"q": mx.array([1, 2]), "k": mx.array([3, 4]), "in": mx.array([5, 6, 7, 8])}
        there, _ = rename(rules, arrays)
        assert there.keys() == {"all", "x", "y"}
        back, problems = rename(invert(rules), there)
        assert not problems
        assert {key: array.tolist() for key, array in back.items()} == {k: a.tolist() for k, a in arrays.items()}

    def test_two_rules_for_one_parameter_have_no_inverse(self):
        with pytest.raises(ValueError, match="two rules fill x"):
            invert([Rule("new", "x"), Rule("old", "x")])


def meaning(config):
    """A configuration without its spelling of the backbone, and without freeze_batch_norm."""
    raw = {**config.backbone_config, "num_channels": config.num_channels}
    backbone = parse_backbone_config(raw)
    if raw["model_type"] == "resnet":
        written = {"layer_type": "bottleneck" if backbone.bottleneck else "basic", "freeze_batch_norm": True}
        backbone = parse_backbone_config({**raw, **written})
    return {**config.to_dict(), "backbone_config": {key: listed(value) for key, value in vars(backbone).items()}}


def listed(value):
    return list(value) if isinstance(value, tuple) else value


swins = st.builds(
    dict,
    st.just(SWIN),
    depths=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    patch_size=st.integers(1, 5),
    window_size=st.integers(1, 12),
    mlp_ratio=st.sampled_from([1, 2.5]),
    qkv_bias=st.booleans(),
    layer_norm_eps=st.sampled_from([1, 1e-6]),
    image_size=st.just(384),  # ignored
)
resnets = st.fixed_dictionaries(
    {"model_type": st.just("resnet")},
    optional={
        "embedding_size": st.sampled_from([8, 256]),
        "hidden_sizes": st.sampled_from([[8, 8, 12, 16], (64, 128, 256, 512)]),
        "depths": st.just([1, 2, 3, 4]),
        "layer_type": st.sampled_from([None, "basic", "bottleneck"]),
        "downsample_in_bottleneck": st.booleans(),
        "freeze_batch_norm": st.booleans(),
    },
)
configs = st.fixed_dictionaries(
    {"backbone_config": swins | resnets},
    optional={
        "num_labels": st.integers(1, 9),
        "num_channels": st.integers(1, 5),
        "hidden_dim": st.sampled_from([16, 32]),
        "encoder_layers": st.integers(0, 3),
        "num_attention_heads": st.sampled_from([1, 2, 4]),
        "common_stride": st.sampled_from([4, 8]),
        "enforce_input_projection": st.booleans(),
        "activation_function": st.sampled_from(["relu", "gelu", "silu"]),
        "pre_norm": st.booleans(),
        "no_object_weight": st.sampled_from([0, 0.1, 1]),
        "output_auxiliary_logits": st.sampled_from([None, True, False]),
        "output_hidden_states": st.booleans(),
    },
)


def test_the_configuration_has_all_that_transformers_needs_in_its_types():
    theirs = small_config(class_weight=2, backbone_config={**SWIN, "layer_norm_eps": 1}).to_huggingface()
    assert theirs["architectures"] == ["Mask2FormerForUniversalSegmentation"]
    assert type(theirs["class_weight"]) is float  # transformers refuses an int
    backbone = theirs["backbone_config"]
    assert type(backbone["layer_norm_eps"]) is float
    assert backbone["out_features"] == ["stage1", "stage2", "stage3", "stage4"]
    assert backbone["hidden_act"] == "gelu"
    assert not backbone["use_absolute_embeddings"]


@settings(max_examples=50, deadline=None)
@given(values=configs, name=st.text(max_size=5))
def test_a_round_trip_keeps_the_meaning_of_a_configuration(values, name):
    config = small_config(**values)
    config.id2label = {number: f"{name} {number}" for number in range(config.num_labels)}
    theirs = json.loads(json.dumps(config.to_huggingface()))
    again = Mask2FormerConfig.from_huggingface(theirs)
    assert meaning(again) == meaning(config)
    assert not again.differences(config)
    assert theirs["label2id"] == {label: number for number, label in config.id2label.items()}

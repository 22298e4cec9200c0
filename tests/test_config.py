import dataclasses
import json

import pytest
from helpers import RESNET, SWIN, TINY_HUGGINGFACE, small_config

from lucid_mlx import InputError
from lucid_mlx.models import Mask2Former, Mask2FormerConfig
from lucid_mlx.models.vision.backbones.swin import RANGES as SWIN_RANGES
from lucid_mlx.models.vision.mask2former.config import RANGES

LUCID = {
    "num_labels": dataclasses.MISSING,
    "feature_size": 256,
    "mask_feature_size": 256,
    "hidden_dim": 256,
    "backbone_config": None,
    "num_channels": 3,
    "num_queries": 100,
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


def test_fields_and_defaults_are_lucids():
    fields = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in dataclasses.fields(Mask2FormerConfig)
    }
    assert fields == LUCID
    assert list(fields) == list(LUCID)


def test_labels_are_numbered_until_they_are_named():
    config = small_config(num_labels=2)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    config.id2label = {0: "cat", 1: "dog"}
    assert config.id2label == {0: "cat", 1: "dog"}
    with pytest.raises(InputError, match="must name the classes 0 to 1; it names 1"):
        config.id2label = {1: "dog"}


def test_a_written_configuration_reads_back_the_same():
    config = small_config(pre_norm=True)
    config.id2label = {number: f"label {number}" for number in range(5)}
    again = Mask2FormerConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.id2label == config.id2label


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_attention_heads": 5}, "num_attention_heads=5 does not divide feature_size=32"),
        ({"feature_size": 40}, "feature_size=40 must be a multiple of 32"),
        ({"hidden_dim": 34, "num_attention_heads": 2}, "hidden_dim=34 must be a multiple of 4"),
        ({"feature_strides": [8, 16, 32]}, "feature_strides must be"),
        ({"common_stride": 2}, "common_stride must be 4 or 8"),
        ({"activation_function": "tanh"}, "activation_function must be one of"),
        ({"dilation": True}, "dilation=True is not supported"),
        ({"dropout": 1.0}, "dropout must be below 1"),
        ({"dropout": "0.1"}, "dropout must be a number, got '0.1'"),
        ({"mask_weight": -1}, "mask_weight must be at least 0, got -1"),
        ({"num_labels": 0}, "num_labels must be at least 1, got 0"),
        ({"num_queries": True}, "num_queries must be a whole number, got True"),
        ({"decoder_layers": 0}, "decoder_layers must be"),
        ({"oversample_ratio": 0.5}, "oversample_ratio must be"),
        ({"importance_sample_ratio": 2}, "importance_sample_ratio must be"),
        ({"num_channels": 4, "backbone_config": {**SWIN, "num_channels": 3}}, "differs from the backbone's 3"),
        ({"dropout": float("nan")}, "dropout must be a number, got nan"),
        ({"pre_norm": "no"}, "pre_norm must be True or False, got 'no'"),
        ({"feature_strides": 4}, "feature_strides must be a list of whole numbers, got 4"),
        ({"backbone_config": "swin"}, "backbone_config must be a dictionary or None, got 'swin'"),
        ({"backbone_config": {**SWIN, "embed_dim": 8.0}}, "embed_dim must be a whole number, got 8.0"),
        ({"backbone_config": {**SWIN, "embed_dim": 0}}, "embed_dim must be at least 1, got 0"),
        ({"backbone_config": {**SWIN, "mlp_ratio": 0}}, "mlp_ratio must make the MLP's hidden width at least 1"),
        ({"backbone_config": {**SWIN, "qkv_bias": "no"}}, "qkv_bias must be True or False"),
        ({"backbone_config": {**SWIN, "drop_path_rate": 2}}, "drop_path_rate must be at most 1, got 2"),
        ({"backbone_config": {**RESNET, "hidden_sizes": [8, 0, 8, 8]}}, "hidden_sizes must be at least 1, got"),
        ({"backbone_config": {**RESNET, "depths": [1, 1, 1.0, 1]}}, "depths must be a list of whole numbers"),
        ({"backbone_config": {"model_type": "vit"}}, "one of ['resnet', 'swin']; got 'vit'"),
        ({"backbone_config": {**SWIN, "embed_dims": 96}}, "unknown key 'embed_dims' for 'swin'; did you mean"),
        ({"backbone_config": {**SWIN, "num_heads": [3, 3, 3, 3]}}, "must divide the widths"),
        ({"backbone_config": {**SWIN, "depths": [1, 1]}}, "needs four stages"),
        ({"backbone_config": {**RESNET, "stem": "wide"}}, "stem is 'plain' or 'deep'"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_told(values, message):
    with pytest.raises(InputError) as error:
        small_config(**values)
    assert message in str(error.value)


def test_all_problems_are_told_at_once():
    with pytest.raises(InputError, match=r"common_stride.*activation_function.*dropout"):
        small_config(common_stride=3, activation_function="x", dropout=1)


def test_unknown_keys_are_refused_when_read():
    with pytest.raises(InputError, match="unknown keys: 'querys'"):
        Mask2FormerConfig.from_dict({"num_labels": 3, "querys": 5})


class TestHuggingFace:
    def test_fields_labels_and_backbone_are_read(self):
        config = Mask2FormerConfig.from_huggingface(TINY_HUGGINGFACE)
        assert config.num_labels == 3
        assert config.id2label == {0: "cup", 1: "table", 2: "spoon"}
        assert config.hidden_dim == 32
        assert config.backbone_config["depths"] == [1, 1, 1, 1]

    def test_what_transformers_leaves_out_has_its_defaults(self):
        config = Mask2FormerConfig.from_huggingface({"model_type": "mask2former"})
        assert config.num_labels == 2
        assert config.backbone_config["depths"] == [2, 2, 18, 2]
        assert config.backbone_config["drop_path_rate"] == 0.3
        sparse = {"model_type": "mask2former", "backbone_config": {"model_type": "resnet"}}
        backbone = Mask2FormerConfig.from_huggingface(sparse).backbone_config
        assert backbone["layer_type"] == "bottleneck"
        assert backbone["hidden_sizes"] == [256, 512, 1024, 2048]

    def test_renamed_keys_are_understood(self):
        raw = {**TINY_HUGGINGFACE, "hidden_size": 64, "num_hidden_layers": 5}
        del raw["hidden_dim"], raw["decoder_layers"]
        config = Mask2FormerConfig.from_huggingface(raw)
        assert (config.hidden_dim, config.decoder_layers) == (64, 5)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model_type": "maskformer"}, "a 'maskformer' model, expected 'mask2former'"),
            ({"backbone_config": {"model_type": "dinov2"}}, "the backbone 'dinov2' is not supported"),
            ({"backbone_config": None, "backbone": "resnet50"}, "given by name alone"),
            ({"backbone_config": {**SWIN, "use_absolute_embeddings": True}}, "use_absolute_embeddings=True"),
            ({"backbone_config": {**SWIN, "hidden_act": "relu"}}, "hidden_act='relu'"),
            ({"backbone_config": {**SWIN, "out_features": ["stage4"]}}, "must return"),
            ({"backbone_config": {**SWIN, "patch_size": [4, 2]}}, "patches must be square"),
            ({"id2label": {"cat": "0"}}, "must map class numbers to names"),
            ({"id2label": {"3": "cat"}, "num_labels": 2}, "must name the classes 0 to 1; it names 1: [3]"),
        ],
    )
    def test_networks_that_differ_are_refused(self, change, message):
        with pytest.raises(InputError) as error:
            Mask2FormerConfig.from_huggingface({**TINY_HUGGINGFACE, **change})
        assert message in str(error.value)


WRONG = [
    2**31,
    2**63,
    10**400,
    -1,
    -(10**400),
    [],
    [[1]],
    {},
    None,
    float("nan"),
    float("inf"),
    "\ud800",
    "8",
    b"8",
    object(),
]
NUMBERS = [item.name for item in dataclasses.fields(Mask2FormerConfig) if item.type in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_type_and_bounds(name):
    for value in WRONG:
        with pytest.raises(InputError, match=f"{name} must be (a number|a whole number|at least|at most)") as error:
            small_config(**{name: value})
        assert len(str(error.value)) < 300


@pytest.mark.parametrize("backbone", [SWIN, RESNET], ids=["swin", "resnet"])
def test_so_has_every_number_of_a_backbone(backbone):
    for name, given in backbone.items():
        if name == "model_type":
            continue
        for value in WRONG:
            wrong = [value] * 4 if isinstance(given, list) else value
            with pytest.raises(InputError, match=f"backbone_config.*{name} "):
                small_config(backbone_config={**backbone, name: wrong})


@pytest.mark.parametrize("value", WRONG)
def test_what_a_backbone_does_not_use_is_checked_too_because_it_is_written_to_files(value):
    if value not in (None, "8", []) and not isinstance(value, int):
        with pytest.raises(InputError, match="image_size"):
            small_config(backbone_config={**SWIN, "image_size": value})


def test_the_largest_network_is_described_at_once():
    sizes = {name: most for name, (_, most) in RANGES.items() if name not in ("dropout", "common_stride")}
    backbone = {"model_type": "swin", **{name: most for name, (_, most) in SWIN_RANGES.items() if name[0] != "d"}}
    backbone |= {"depths": [100] * 4, "num_heads": [256] * 4, "layer_norm_eps": 1e-5}
    model = Mask2Former(Mask2FormerConfig(**sizes, backbone_config=backbone))  # its arrays are made when they are used
    assert model.parameter_size > 10**12


@pytest.mark.parametrize(
    "labels", [5, [], {0: "a"}, {"0": "a"}, {0: "a", 1: "x" * 501}, {0: "a", 1: "\ud800"}, {0: "a", 1: []}]
)
def test_labels_that_are_no_names_of_the_classes_are_told(labels):
    config = small_config(num_labels=2)
    with pytest.raises(InputError, match="id2label must"):
        config.id2label = labels


@pytest.mark.parametrize("raw", [None, [], 3, "swin", {1: 2}, {"num_labels": 3, "x" * 100_000: 1}, {"model_type": []}])
def test_what_is_no_configuration_is_told(raw):
    for read in (Mask2FormerConfig.from_dict, Mask2FormerConfig.from_huggingface):
        with pytest.raises(InputError) as error:
            read(raw)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize("backbone", ["swin", 3, [], {"model_type": []}, {"model_type": "swin", "patch_size": []}])
def test_a_hugging_face_backbone_of_another_type_is_told(backbone):
    with pytest.raises(InputError):
        Mask2FormerConfig.from_huggingface({**TINY_HUGGINGFACE, "backbone_config": backbone})

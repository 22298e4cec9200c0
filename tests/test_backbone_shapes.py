"""What a file of a backbone tells of itself: its shape, its normalization, and whether it is another network."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from test_backbone_files import CASES, assert_same, classifier, written

from lucid_mlx import InputError
from lucid_mlx.convert.backbone import read_backbone
from lucid_mlx.models.vision.backbones import parse_backbone_config


@pytest.mark.parametrize("name", CASES)
def test_without_a_configuration_the_shape_is_that_of_the_file(name, tmp_path):
    arrays, wanted = classifier(name)
    read = read_backbone(written(arrays, tmp_path / "x.safetensors"))
    assert_same(read.arrays, wanted)
    given, got = (parse_backbone_config(config) for config in (CASES[name][0], read.config))
    untold = {"layer_type": None, "drop_path_rate": None}  # no shapes tell these
    assert asdict(got) | untold == asdict(given) | untold
    assert getattr(got, "bottleneck", None) == getattr(given, "bottleneck", None)


def test_a_configuration_beside_the_file_tells_what_shapes_do_not(tmp_path):
    arrays, _ = classifier("hugging face, bottleneck")
    written(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet", "downsample_in_bottleneck": True}))
    assert read_backbone(tmp_path).config["downsample_in_bottleneck"] is True
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "downsample_in_bottleneck": True}))
    assert "downsample_in_bottleneck" not in read_backbone(tmp_path).config


@pytest.mark.parametrize(
    ("file", "content", "mean", "rescale_factor"),
    [
        ("preprocessor_config.json", {"size": 224, "image_mean": [0.5, 0.4, 0.3]}, (0.5, 0.4, 0.3), 1 / 255),
        ("preprocessor_config.json", {"do_normalize": False, "do_rescale": False}, (0.0, 0.0, 0.0), 1.0),
        ("config.json", {"pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2] * 3}}, (0.5, 0.4, 0.3), 1 / 255),
    ],
)
def test_the_normalization_is_that_of_the_folder(file, content, mean, rescale_factor, tmp_path):
    written(classifier("timm's swin")[0], tmp_path / "model.safetensors")
    assert read_backbone(tmp_path).image_config is None
    (tmp_path / file).write_text(json.dumps(content))
    got = read_backbone(tmp_path).image_config
    assert (got.mean, got.rescale_factor) == (mean, rescale_factor)


def test_a_normalization_that_is_none_is_reported(tmp_path):
    written(classifier("timm's swin")[0], tmp_path / "model.safetensors")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": "gray"}))
    with pytest.raises(InputError, match=f"{tmp_path.name}: the image configuration's mean"):
        read_backbone(tmp_path)


@pytest.mark.parametrize("name", ["original swin without a head", "hugging face's swin without a head"])
def test_the_norms_of_a_backbone_that_was_trained_on_are_read(name, tmp_path):
    arrays, wanted = classifier(name)
    keys = "hidden_states_norms.stage{}." if name.startswith("hugging") else "norm{}."
    for stage, width in enumerate((8, 16, 32, 64)):
        value = np.full(width, 2.0, np.float32)
        arrays[keys.format(stage + name.startswith("hugging")) + "weight"] = value
        arrays[keys.format(stage + name.startswith("hugging")) + "bias"] = value
        wanted |= {f"backbone.norms.{stage}.weight": value, f"backbone.norms.{stage}.bias": value}
    assert_same(read_backbone(written(arrays, tmp_path / "x.safetensors")).arrays, wanted)


def resnext(arrays):
    for key in [key for key in arrays if key.endswith("conv2.weight")]:
        arrays[key] = arrays[key][:, ::2]  # as with groups
    return arrays


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "torchvision, bottleneck",
            resnext,
            "x.safetensors has keys of torchvision's or timm's ResNet, but is another network, or of another shape: .*"
            r"convs.1.conv.weight is \[4, 3, 3, 2\], expected \[4, 3, 3, 4\]",
        ),
        (
            "torchvision, basic",
            lambda arrays: arrays | {"layer1.0.se.fc1.weight": np.ones((2, 2), np.float32)},
            "but is another network.*1 unknown keys: layer1.0.se.fc1.weight",
        ),
        (
            "torchvision, basic",
            lambda arrays: {"conv1.0.weight" if key == "conv1.weight" else key: x for key, x in arrays.items()},
            "has keys of torchvision's or timm's ResNet, but is another network: .*has no backbone.stem.0.conv.weight",
        ),
        (
            "timm's swin",
            lambda arrays: {f"vision.{number}": x for number, x in enumerate(arrays.values())},
            "the keys are of no known family",
        ),
    ],
    ids=["groups", "other blocks", "another stem", "another family"],
)
def test_another_network_than_a_plain_one_is_reported(name, change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_backbone(written(change(classifier(name)[0]), tmp_path / "x.safetensors"))


def test_parts_that_look_like_several_networks_are_none(tmp_path):
    part = classifier("original swin without a head")[0]
    arrays = {f"{side}.{key}": array for side in ("left", "right") for key, array in part.items()}
    with pytest.raises(InputError, match="the keys are of no known family"):
        read_backbone(written(arrays, tmp_path / "x.safetensors"))

"""OpenMMLab's checkpoints: their keys, and those that are listed by a short name."""

import hashlib
import math
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, key_list, run_cli, small_model
from torch_writer import save_zip

from lucid_mlx.convert.families import detect_family
from lucid_mlx.convert.openmmlab import RULES
from lucid_mlx.convert.origin import identify_checkpoint
from lucid_mlx.convert.rules import invert, match_rules, rename, to_torch_layout
from lucid_mlx.datasets import dataset_classes
from lucid_mlx.loading import load_checkpoint
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import catalog
from lucid_mlx.weights.address import WebAddress, parse_address
from lucid_mlx.weights.catalog import OPENMMLAB_SERVER, openmmlab_catalog

NAME = "openmmlab_swin_tiny:COCO_PANOPTIC"
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "position_index", "class_weight")


@pytest.mark.parametrize("name", ["mmdet_r50_panoptic", "mmdet2_r50_panoptic", "mmdet_swin_t_panoptic"])
def test_a_video_network_has_the_parameters_of_an_image_network_under_another_head(name):
    image = {key: mx.zeros(shape) for key, shape in key_list(name).items()}
    video = {key.replace("panoptic_head.", "track_head."): array for key, array in image.items()}
    assert video.keys() != image.keys()
    video["track_head.loss_cls.class_weight"] = mx.ones(41)  # dropped
    assert detect_family(video).name == "openmmlab"
    (renamed, problems), (wanted, _) = rename(RULES, video), rename(RULES, image)
    assert problems == []
    assert {key: array.shape for key, array in renamed.items()} == {key: array.shape for key, array in wanted.items()}


def test_a_head_of_another_name_is_unknown():
    keys = ["roi_head.query_feat.weight", "track_head.query_feat.bias", "track_head.memory.weight"]
    assert set(match_rules(RULES, keys).values()) == {None}


@pytest.mark.parametrize("model", openmmlab_catalog(), ids=lambda model: model.name)
def test_a_listed_checkpoint_has_an_address_that_tells_what_it_is(model):
    assert parse_address(model.name.lower()) == WebAddress(model.address)
    assert model.address.startswith(OPENMMLAB_SERVER)
    found = identify_checkpoint(model.address)
    assert (found.dataset, found.license, found.trained_on) == (model.dataset, "apache-2.0", "images")
    assert found.metric == model.metric.split(";")[0]
    assert found.metric.split()[0] == {"panoptic": "PQ", "instance": "AP", "semantic": "mIoU"}[model.task]
    assert ("IN21k" in found.title) == (model.name.endswith("IN21K") or model.size == "large")


def test_the_listed_checkpoints_are_24_trainings():
    assert len({model.name for model in openmmlab_catalog()}) == 24
    assert len({model.address for model in openmmlab_catalog()}) == 24


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("openmmlab_resnet_50:COCO_PANOPTIC", "mmdet_r50_panoptic"),
        (NAME, "mmdet_swin_t_panoptic"),
        ("openmmlab_resnet_50:ADE20K_SEMANTIC", "mmseg_r50_semantic"),
    ],
)
def test_the_listed_numbers_of_parameters_are_those_of_the_files(name, keys):
    (model,) = [model for model in openmmlab_catalog() if model.name == name]
    sizes = [math.prod(shape) for key, shape in key_list(keys).items() if not key.endswith(_BUFFERS)]
    assert model.num_parameters == sum(sizes)


def test_the_commercial_ones_are_those_without_a_license_for_non_commercial_use_alone():
    result = run_cli("weights", "list", "--commercial")
    licenses = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    assert set(licenses) == {"demo", *(model.name for model in openmmlab_catalog())}
    assert not any("-nc" in line for line in licenses.values())
    assert "note: openmmlab_... were not downloaded and tried here" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run_cli("weights", "list", "--size", "large", "--task", "instance").stderr == ""
    (line,) = run_cli(
        "weights", "list", "--commercial", "--size", "large", "--task", "panoptic", "--addresses"
    ).stdout.splitlines()[1:]
    assert line.endswith("_20220407_104949-82f8d28d.pth")


def their_arrays():
    """The arrays of a small network under MMDetection 3's keys, in its order of channels."""
    model = small_model(num_labels=133)
    rules = [rule for rule in RULES if rule.source.startswith(("backbone.", "panoptic_head."))]
    inverse = invert([rule for rule in rules if "attentions." not in rule.source and "ffns." not in rule.source])
    theirs, problems = rename(inverse, to_torch_layout(inverse, named_parameters(model)))
    assert not problems
    for key, array in theirs.items():
        if ".downsample." in key:  # (neighbor, C) to (C, neighbor)
            grouped = array.reshape(*array.shape[:-1], 4, -1)[..., mx.array([0, 2, 1, 3]), :]
            theirs[key] = grouped.swapaxes(-1, -2).reshape(array.shape)
    return model, {key: np.array(array) for key, array in theirs.items()}


def test_a_short_name_is_enough_to_convert_and_to_segment_and_the_license_stays(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, arrays = their_arrays()
    save_zip({"meta": {}, "state_dict": arrays}, tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    (listed,) = [model for model in openmmlab_catalog() if model.name == NAME]
    file = listed.address.rsplit("/", 1)[1].rsplit("-", 1)[0] + f"-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    hub.files["web"] = {file: data}
    entry = replace(listed, address=f"{hub.url}/web/{file}")
    monkeypatch.setattr(catalog, "openmmlab_catalog", lambda: (entry,))

    assert "license: Apache 2.0" in run_cli("convert", NAME, "-o", "ours").stdout
    checkpoint = load_checkpoint("ours")
    assert (checkpoint.metadata["license"], checkpoint.metadata["source"]) == ("apache-2.0", entry.address)
    assert (checkpoint.metadata["family"], checkpoint.dataset) == ("openmmlab", "coco_panoptic")
    names = [entry.name for entry in dataset_classes("coco_panoptic")]
    assert list(checkpoint.config["id2label"].values()) == names
    for key, array in named_parameters(model).items():
        assert mx.array_equal(checkpoint.arrays[key], array), key
    card = (tmp_path / "ours/README.md").read_text()
    assert "license: apache-2.0" in card
    assert "Published accuracy: PQ 53.4" in card
    run_cli("segment", PHOTO, "--weights", NAME, "--size", "64")
    assert (tmp_path / "coffee-segmented.png").is_file()
    assert len(hub.downloads()) == 1
    assert "yes" in run_cli("weights", "list", "--commercial", "--cached").stdout.splitlines()[2]


def test_a_server_that_is_gone_is_answered_with_what_helps(hub, monkeypatch):
    gone = "http://127.0.0.1:9/"
    (entry,) = [replace(model, address=gone + "x.pth") for model in openmmlab_catalog() if model.name == NAME]
    monkeypatch.setattr(catalog, "openmmlab_catalog", lambda: (entry,))
    monkeypatch.setattr("lucid_mlx.weights.download.OPENMMLAB_SERVER", gone)
    message = run_cli("weights", "pull", NAME, code=2).stderr
    assert "Connection refused; OpenMMLab's server did not answer in June 2026; a file that you have" in message
    told = run_cli("weights", "pull", "openmmlab_swin_tiny:COCO_PANOPTICS", code=2).stderr
    assert f"did you mean {NAME}" in told

"""What trainers save beside the weights does not matter, nothing of it runs, and other models are named."""

import argparse
import collections
import datetime
import decimal
import enum
import functools
import json
import pathlib
import pickle
import random
import uuid

import numpy as np
import pytest
from helpers import huggingface_arrays, key_list, run_cli, write_huggingface
from safetensors.numpy import save_file
from torch_writer import Module, save_legacy, save_zip

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert.other_models import name_other_model
from lucid_mlx.convert.source import read_source

RAW = huggingface_arrays()


class Phase(enum.Enum):
    TRAINING = "training"


class Scheduler:
    def __init__(self):
        self.milestones = collections.Counter([327778, 355092])

    def step(self):
        return self.milestones


BESIDE = {
    "Counter": collections.Counter({3: 1}),
    "Namespace": argparse.Namespace(lr=1e-4, path=pathlib.PurePosixPath("/tmp")),
    "path": pathlib.Path("/tmp"),
    "set": {1, 2},
    "frozenset": frozenset("ab"),
    "complex": 1j,
    "bytearray": bytearray(b"a"),
    "partial": functools.partial(int, base=2),
    "datetime": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "enum": Phase.TRAINING,
    "method": Scheduler().step,
    "scheduler": Scheduler(),
    "random state": np.random.RandomState(0).get_state(),
    "generator": np.random.default_rng(0),
    "python's random": random.Random(0),
    "deque": collections.deque([1], maxlen=3),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "UserDict": collections.UserDict(a=1),
    "dtype": np.dtype("float32"),
    "scalar": np.float64(0.3),
    "texts": np.array(["a", "b"]),
    "decimal": decimal.Decimal("0.1"),
    "uuid": uuid.UUID(int=3),
    "type": int,
    "None's type": type(None),
    "exception": ValueError("x"),
    "ellipsis": ...,
    "range": range(3),
    "slice": slice(1, 2),
    "function": max,
    "unknown class": Module(rate=0.1, inner=Module(x=[1])),
    "large": 10**400,
    "dates": [datetime.date(2026, 1, 1), datetime.timedelta(1)],
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_what_is_beside_the_weights_does_not_matter(tmp_path, name, save):
    tree = {"meta": {name: BESIDE[name]}, "state_dict": RAW, name: BESIDE[name]}
    model = lucid_mlx.load(save(tree, tmp_path / "iter_8000.pth"))
    assert np.array_equal(np.array(model.transformer_decoder.class_head.bias), RAW["class_predictor.bias"])


@pytest.mark.parametrize("protocol", range(2, 6))
def test_all_of_it_in_a_plain_pickle_of_any_protocol(tmp_path, protocol):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({**BESIDE, "unknown class": 0, "model": RAW}, protocol))
    assert lucid_mlx.load(tmp_path / "x.pkl").config.num_labels == 3


@pytest.mark.parametrize(
    "thing", [b"ctorch\nfloat16\n", b"ctorch\ndevice\n(U\x03cputR", b"ctorch\nSize\n(K\x02K\x03t\x85R"]
)
def test_torch_s_own_objects_beside_the_weights_do_not_matter(tmp_path, thing):
    model = pickle.dumps({"model": RAW}, 2)
    (tmp_path / "x.pkl").write_bytes(model[:-1] + b"U\x01x" + thing + b"s.")
    assert lucid_mlx.load(tmp_path / "x.pkl").config.num_labels == 3


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_whole_module_has_the_keys_of_its_state_dict(tmp_path, save):
    buffers = {"index": np.arange(3), "kept": np.ones(2, np.float32)}
    module = Module(_parameters={"w": np.ones(2, np.float32)}, _buffers=buffers, _non_persistent_buffers_set={"index"})
    whole = save(Module(_modules={"a": module}), tmp_path / "whole.pt")
    assert set(read_source(whole).arrays) == {"w", "kept"}


def test_the_source_code_in_a_legacy_whole_model_does_not_matter(tmp_path):
    path = save_legacy({"model": RAW, "class": 123456789}, tmp_path / "x.pt")
    number = pickle.dumps(123456789, 2)[2:-1]
    assert number in path.read_bytes()
    named = b"(U\x06modulectrainer.networks\nNetwork\nU\x04a.pyU\x04passtQ"
    path.write_bytes(path.read_bytes().replace(number, named, 1))
    assert lucid_mlx.load(path).config.num_labels == 3


TELLING = {
    "a MaskFormer": ["model.pixel_level_module.decoder.fpn.stem.0.weight", "model.transformer_module.x.weight"],
    "a OneFormer": ["model.task_encoder.task_mlp.layers.0.weight", "model.pixel_level_module.encoder.x.weight"],
    "a SegFormer": ["segformer.encoder.patch_embeddings.0.proj.weight", "decode_head.classifier.weight"],
    "a DeepLab of torchvision": ["backbone.conv1.weight", "classifier.0.convs.0.0.weight", "classifier.4.weight"],
    "a torchvision Mask R-CNN": ["backbone.body.conv1.weight", "roi_heads.mask_predictor.mask_fcn_logits.weight"],
    "a detectron2 Mask R-CNN": ["backbone.bottom_up.stem.conv1.weight", "roi_heads.mask_head.predictor.weight"],
    "a DETR": ["transformer.encoder.layers.0.norm1.weight", "bbox_embed.layers.0.weight", "class_embed.weight"],
    "a Segment Anything": ["image_encoder.blocks.0.norm1.weight", "mask_decoder.mask_tokens.weight"],
    "a YOLO": ["model.0.conv.weight", "model.22.cv2.0.0.conv.weight"],
    "a U-Net": ["encoder.conv1.weight", "decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"],
    "a kMaX-DeepLab": ["sem_seg_head.predictor._kmax_transformer_layers.0.x.weight"],
    "a MaskDINO": ["sem_seg_head.predictor.enc_output.weight", "sem_seg_head.predictor.query_feat.weight"],
    "a Mask2Former with a ConvNeXt backbone": [
        "backbone.downsample_layers.0.0.weight", "sem_seg_head.predictor.query_feat.weight",
    ],
    "a LoRA adapter": ["base_model.model.class_predictor.lora_A.weight"],
}  # fmt: skip


@pytest.mark.parametrize("name", TELLING)
def test_another_model_is_called_by_its_name(tmp_path, name):
    path = save_zip(
        {"state_dict": {f"module.{key}": np.ones(2, np.float32) for key in TELLING[name]}}, tmp_path / "x.pth"
    )
    result = run_cli("convert", path, "-o", tmp_path / "ours", code=2)
    assert f"x.pth: it is {name}" in result.output
    assert "does not run" in result.output


@pytest.mark.parametrize(
    "family", ["d2_swin_tiny", "hf_tiny", "lucid3_swin_tiny", "mmdet2_r50_panoptic", "hf_timm_resnet_50"]
)
def test_no_mask2former_is_taken_for_another_model(family):
    assert name_other_model(list(key_list(family))) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "maskformer"}, "it is a MaskFormer, as its config.json says"),
        ({"model_type": "segformer"}, "it is a SegFormer"),
        ({"model_type": "llama"}, "of the model type 'llama'"),
        ({"model_type": "swin", "architectures": ["SwinForImageClassification"]}, "it is a backbone alone"),
        ({"architecture": "resnet50"}, r"a backbone alone, an image classifier \(resnet50\).*pretrained_backbone"),
    ],
)
def test_the_config_names_another_model(tmp_path, config, message):
    folder = write_huggingface(tmp_path / "theirs")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        lucid_mlx.load(folder)


def test_an_image_classifier_is_told_and_where_it_goes(tmp_path):
    keys = [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "layer1.0.conv1.weight",
        "layer4.1.bn2.bias",
        "fc.weight",
        "fc.bias",
    ]
    save_file({key: np.ones(2, np.float32) for key in keys}, tmp_path / "resnet50.safetensors")
    with pytest.raises(InputError, match=r"a backbone alone.*timm's ResNet.*pretrained_backbone=PATH"):
        lucid_mlx.load(tmp_path / "resnet50.safetensors")


def test_a_wrong_family_is_told(tmp_path):
    save_file(RAW, tmp_path / "x.safetensors")
    result = run_cli("convert", tmp_path / "x.safetensors", tmp_path / "o", "--from", "detectron2", code=2)
    assert "x.safetensors has the keys of huggingface, not of detectron2: leave out --from" in result.output

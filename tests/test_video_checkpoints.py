"""Checkpoints of networks for videos: what a converted folder knows of them, and what a photo gets."""

import pickle

import mlx.core as mx
import numpy as np
import pytest
import yaml
from helpers import PHOTO, SCENES, SIZES, SWIN, huggingface_arrays, run_cli, small_model, write_huggingface
from torch_writer import save_zip

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert, detectron2
from lucid_mlx.convert.rules import invert, rename, to_torch_layout
from lucid_mlx.datasets import dataset_classes
from lucid_mlx.loading import default_image_config, load_checkpoint
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights.address import HubAddress, WebAddress, parse_address
from lucid_mlx.weights.catalog import video_catalog

NAMES = [entry.name for entry in dataset_classes("youtube_vis_2019_instance")]


@pytest.fixture(scope="module")
def model():
    return small_model(num_labels=40)


@pytest.fixture(scope="module")
def arrays(model):
    """The arrays of a model under the original project's keys."""
    roots = ("backbone.", "sem_seg_head.predictor.", "sem_seg_head.pixel_decoder.")
    rules = [rule for rule in detectron2.RULES if rule.source.startswith(roots) and "static_query" not in rule.source]
    inverse = invert(rules)
    renamed, problems = rename(inverse, to_torch_layout(inverse, named_parameters(model)))
    assert not problems
    return {key: np.array(array) for key, array in renamed.items()}


def write_pickle(path, arrays):
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "test"}))
    return path


def write_yaml(path, suffix="", train="ytvis_2019_train"):
    """The settings of the small model, as the original project's files for videos have them."""
    swin = {name.upper(): SWIN[name] for name in ("embed_dim", "depths", "num_heads", "window_size", "mlp_ratio")}
    features = ["res2", "res3", "res4", "res5"]
    tree = {
        "MODEL": {
            "META_ARCHITECTURE": f"VideoMaskFormer{suffix}",
            "BACKBONE": {"NAME": "D2SwinTransformer"},
            "SWIN": swin,
            "PIXEL_MEAN": [123.675, 116.280, 103.530],
            "PIXEL_STD": [58.395, 57.120, 57.375],
            "SEM_SEG_HEAD": {
                "NAME": "MaskFormerHead",
                "NUM_CLASSES": 40,
                "IN_FEATURES": features,
                "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": features[1:],
                "PIXEL_DECODER_NAME": "MSDeformAttnPixelDecoder",
                "CONVS_DIM": SIZES["feature_size"],
                "MASK_DIM": SIZES["mask_feature_size"],
                "TRANSFORMER_ENC_LAYERS": SIZES["encoder_layers"],
            },
            "MASK_FORMER": {
                "TRANSFORMER_DECODER_NAME": f"VideoMultiScaleMaskedTransformerDecoder{suffix}",
                "TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder",
                "HIDDEN_DIM": SIZES["hidden_dim"],
                "NUM_OBJECT_QUERIES": SIZES["num_queries"],
                "NHEADS": SIZES["num_attention_heads"],
                "DIM_FEEDFORWARD": SIZES["dim_feedforward"],
                "DEC_LAYERS": SIZES["decoder_layers"],
                "DROPOUT": 0.0,
            },
        },
        "INPUT": {"MIN_SIZE_TEST": 360, "FORMAT": "RGB"},
        "DATASETS": {"TRAIN": [train]},
    }
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.mark.parametrize(("suffix", "trained_on"), [("", "clips"), ("_frame", "images")])
def test_the_yaml_says_what_a_network_was_trained_on_and_the_folder_keeps_it(
    suffix, trained_on, model, arrays, tmp_path
):
    source = write_pickle(tmp_path / "model_final.pkl", arrays)
    checkpoint = load_checkpoint(
        convert(source, tmp_path / "ours", config=write_yaml(tmp_path / "video.yaml", suffix=suffix))
    )
    assert (checkpoint.trained_on, checkpoint.task) == (trained_on, "instance")
    assert checkpoint.dataset == "youtube_vis_2019_instance"
    assert default_image_config(checkpoint)[0].content_size(720, 1280) == (360, 640)
    loaded = lucid_mlx.load(tmp_path / "ours")
    assert list(loaded.config.id2label.values()) == NAMES
    frames = mx.random.normal((1, 2, 3, 64, 64))
    got, wanted = loaded.forward_clip(frames), model.forward_clip(frames)
    assert mx.allclose(got["masks_queries_logits"], wanted["masks_queries_logits"], atol=1e-4)


def test_a_network_for_clips_of_ones_own_videos_has_instances_without_names(arrays, tmp_path):
    source = write_pickle(tmp_path / "model_final.pkl", arrays)
    checkpoint = load_checkpoint(
        convert(source, tmp_path / "ours", config=write_yaml(tmp_path / "video.yaml", train="mine"))
    )
    assert (checkpoint.trained_on, checkpoint.task, checkpoint.dataset) == ("clips", "instance", None)
    assert lucid_mlx.load(tmp_path / "ours").config.id2label[3] == "LABEL_3"


@pytest.mark.parametrize(
    ("file", "trained_on", "license", "size"),
    [
        ("model_final_26fffe.pkl", "clips", "cc-by-nc-4.0", (480, 853)),
        ("minvis_ytvis19_R50.pth", "images", "cc-by-nc-sa-4.0", (360, 640)),
    ],
)
def test_a_published_file_needs_no_yaml(file, trained_on, license, size, arrays, tmp_path):
    path = tmp_path / file
    checkpoint = load_checkpoint(
        save_zip({"model": arrays}, path) if path.suffix == ".pth" else write_pickle(path, arrays)
    )
    assert (checkpoint.trained_on, checkpoint.task) == (trained_on, "instance")
    assert checkpoint.metadata["license"] == license
    assert list(checkpoint.config["id2label"].values()) == NAMES
    published = {
        "swin": [96, [2, 2, 6, 2], "embed_dim"],
        "resnet": [[256, 512, 1024, 2048], [3, 4, 6, 3], "hidden_sizes"],
    }
    kind = "resnet" if "R50" in file else "swin"
    width, depths, name = published[kind]
    checkpoint.config["backbone_config"] = {"model_type": kind, name: width, "depths": depths}
    assert default_image_config(checkpoint)[0].content_size(720, 1280) == size


def test_a_converted_network_for_clips_segments_a_photo_into_named_instances(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pickle(tmp_path / "model_final_34112b.pkl", arrays)
    told = run_cli("convert", "model_final_34112b.pkl", "ours")
    assert "trained on clips" in told.stderr
    assert "clips of several frames" in (tmp_path / "ours" / "README.md").read_text()
    told = run_cli("segment", PHOTO, "--weights", "ours", "-o", "x.png", "--size", "64", "--threshold", "0")
    assert "instance segmentation" in told.output
    segmenter = lucid_mlx.Segmenter("ours", size=64, threshold=0)
    assert segmenter.task == "instance"
    assert {segment.label for segment in segmenter(PHOTO).segments} <= set(NAMES)
    assert segmenter.category_ids[0] == 1


def test_the_hub_s_networks_for_clips_get_names_in_place_of_numbers(hub, tmp_path):
    name = "facebook/video-mask2former-swin-tiny-youtubevis-2019-instance"
    tensors = huggingface_arrays()
    for key in ("class_predictor.weight", "class_predictor.bias"):
        tensors[key] = np.resize(tensors[key], (41, *tensors[key].shape[1:]))
    tensors["criterion.empty_weight"] = np.ones(41, np.float32)
    numbers = {str(number): f"LABEL_{number}" for number in range(40)}
    hub.add(name, write_huggingface(tmp_path / "theirs", tensors, id2label=numbers))
    checkpoint = load_checkpoint(name)
    assert (checkpoint.trained_on, checkpoint.dataset) == ("clips", "youtube_vis_2019_instance")
    assert list(checkpoint.config["id2label"].values()) == NAMES


def test_checkpoints_of_images_are_trained_on_images():
    assert load_checkpoint(SCENES).trained_on == "images"


def test_every_listed_checkpoint_for_videos_has_an_address():
    addresses = [parse_address(model.name) for model in video_catalog()]
    assert len(set(addresses)) == 27
    assert sum(isinstance(address, WebAddress) for address in addresses) == 12
    assert parse_address("minvis_swin_large:ovis") == HubAddress(
        "deahuang/MinVIS-Model-Zoo", file="minvis_ovis_swin_large.pth"
    )
    for model, address in zip(video_catalog(), addresses, strict=True):
        if isinstance(address, WebAddress):
            assert f"/{model.dataset.replace('youtube_vis', 'ytvis').removesuffix('_instance')}/" in address.url


def test_a_misspelt_name_is_told_with_those_like_it():
    with pytest.raises(InputError, match=r"did you mean minvis_resnet_50:OVIS .*weights list"):
        parse_address("minvis_resnet_18:OVIS")


def test_the_hub_s_file_of_minvis_is_found_by_its_short_name(hub, arrays, tmp_path):
    folder = tmp_path / "zoo"
    folder.mkdir()
    save_zip({"model": arrays}, folder / "minvis_ytvis21_R50.pth")
    hub.add("deahuang/MinVIS-Model-Zoo", folder)
    checkpoint = load_checkpoint("minvis_resnet_50:YOUTUBE_VIS_2021")
    assert (checkpoint.dataset, checkpoint.trained_on) == ("youtube_vis_2021_instance", "images")
    assert checkpoint.metadata["license"] == "cc-by-nc-sa-4.0"

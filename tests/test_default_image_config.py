"""How a checkpoint's images are prepared if nobody says otherwise."""

import csv
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from helpers import write_huggingface

from lucid_mlx.convert import convert_in_memory
from lucid_mlx.datasets import DATASETS
from lucid_mlx.loading import default_image_config
from lucid_mlx.preprocessing import ImageConfig, published_image_config
from lucid_mlx.weights.catalog import catalog
from lucid_mlx.weights.checkpoint import Checkpoint
from lucid_mlx.weights.download import LocalFiles
from lucid_mlx.weights.enums import Mask2Former_Swin_Base_Weights

COCO = ImageConfig(size=None, shortest_edge=800, longest_edge=1333, divisor_mode="pad")


class TestPublishedImageConfig:
    def test_they_agree_with_the_table_of_published_models(self):
        """The table's last column is from the model zoo, the image configurations are from the YAML files."""
        table = (files("lucid_mlx.weights") / "hub_models.tsv").read_text(encoding="utf-8")
        sizes = {
            row["repo"]: row["original test size short/long"]
            for row in csv.DictReader(table.splitlines(), delimiter="\t")
        }
        models = [model for model in catalog() if model.name in sizes]
        assert len(models) == len(sizes) == 29
        for model in models:
            image_config = published_image_config(model.dataset, f"swin_{model.size}")
            assert f"{image_config.shortest_edge}/{image_config.longest_edge}" == sizes[model.name]

    @pytest.mark.parametrize("dataset", DATASETS)
    def test_every_dataset_has_one_for_published_backbones(self, dataset):
        image_config = published_image_config(dataset, "resnet_50")
        assert image_config == ImageConfig(
            size=None,
            shortest_edge=image_config.shortest_edge,
            longest_edge=image_config.longest_edge,
            size_divisor=32,
            divisor_mode="pad",
        )
        np.testing.assert_allclose(np.array(image_config.mean) * 255, [123.675, 116.28, 103.53])
        np.testing.assert_allclose(np.array(image_config.std) * 255, [58.395, 57.12, 57.375])

    def test_the_size_depends_on_the_backbone_for_some_datasets(self):
        assert published_image_config("ade20k_semantic", "resnet_101").shortest_edge == 512
        assert published_image_config("ade20k_semantic", "swin_base").shortest_edge == 640
        assert published_image_config("ade20k_panoptic", "resnet_50").shortest_edge == 640
        assert published_image_config("youtube_vis_2021_instance", "swin_small").shortest_edge == 360
        assert published_image_config("youtube_vis_2021_instance", "swin_tiny").shortest_edge == 480
        assert published_image_config("coco_instance", None) == COCO
        for dataset, backbone in [("ade20k_semantic", None), ("ade20k_semantic", "resnet_18"), ("my own", "swin_tiny")]:
            assert published_image_config(dataset, backbone) is None


SWIN_BASE = {"model_type": "swin", "embed_dim": 128, "depths": [2, 2, 18, 2]}
SQUARE = {"size": {"height": 384, "width": 384}}


def checkpoint(source, dataset=None, backbone=None, preprocessor=None):
    metadata = {"source": source, **({"dataset": dataset} if dataset else {})}
    return Checkpoint({"backbone_config": backbone or SWIN_BASE}, {}, metadata, preprocessor or {})


class TestDefaultImageConfig:
    @pytest.mark.parametrize(
        ("source", "dataset", "sizes"),
        [
            ("facebook/mask2former-swin-base-coco-panoptic", "coco_panoptic", (800, 1333)),
            ("facebook/mask2former-swin-base-IN21k-ade-semantic", "ade20k_semantic", (640, 2560)),
            ("model_final_f07440.pkl", "coco_panoptic", (800, 1333)),
            ("model_final_221a8a.pkl", "youtube_vis_2019_instance", (360, 1333)),
            (Mask2Former_Swin_Base_Weights.CITYSCAPES_SEMANTIC.value.url, "cityscapes_semantic", (1024, 2048)),
        ],
    )
    def test_a_published_checkpoint_gets_its_test_size(self, source, dataset, sizes):
        image_config, why = default_image_config(checkpoint(source, dataset, preprocessor=SQUARE))
        assert image_config == ImageConfig(size=None, shortest_edge=sizes[0], longest_edge=sizes[1], divisor_mode="pad")
        assert why == f"the published test size of {dataset}: shortest side {sizes[0]}, longest {sizes[1]}"

    @pytest.mark.parametrize(
        ("backbone", "shortest"),
        [
            ({"model_type": "resnet", "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3]}, 512),
            ({"model_type": "resnet", "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 23, 3]}, 512),
            ({"model_type": "swin", "embed_dim": 96, "depths": [2, 2, 6, 2]}, 512),
            ({"model_type": "swin", "embed_dim": 96, "depths": [2, 2, 18, 2]}, 512),
            (SWIN_BASE, 640),
            ({"model_type": "swin", "embed_dim": 192, "depths": [2, 2, 18, 2]}, 640),
            ({"model_type": "swin", "embed_dim": 96, "depths": [2, 2, 2, 2]}, None),
            ({"model_type": "resnet", "hidden_sizes": [64, 128, 256, 512], "depths": [3, 4, 6, 3]}, None),
            ({"model_type": "resnet"}, None),
        ],
    )
    def test_the_backbone_is_recognized_from_the_configuration(self, backbone, shortest):
        image_config, _ = default_image_config(
            checkpoint("facebook/mask2former-swin-tiny-ade-semantic", "ade20k_semantic", backbone)
        )
        assert image_config.shortest_edge == shortest

    @pytest.mark.parametrize(
        ("source", "dataset"),
        [
            ("me/my-own", "coco_panoptic"),
            ("facebook/mask2former-swin-base-coco-panoptic", None),  # trained further on something else
            ("facebook/mask2former-swin-base-coco-panoptic", "ade20k_semantic"),
        ],
    )
    def test_other_checkpoints_have_their_own_image_config(self, source, dataset):
        own = {"size": {"height": 256, "width": 128}}
        assert default_image_config(checkpoint(source, dataset, preprocessor=own)) == (
            ImageConfig.from_dict(own), "the checkpoint's own image configuration"
        )  # fmt: skip

    def test_an_own_image_config_that_pads_is_preferred(self):
        own = replace(COCO, shortest_edge=500)
        source = "facebook/mask2former-swin-base-coco-panoptic"
        assert default_image_config(checkpoint(source, "coco_panoptic", preprocessor=own.to_dict()))[0] == own

    def test_without_any_image_config_it_is_384x384(self):
        image_config, why = default_image_config(checkpoint("me/my-own"))
        assert image_config == ImageConfig()
        assert why.startswith("384x384")
        assert default_image_config(Checkpoint({}, {}, {}, {}))[0] == ImageConfig()

    def test_conversions_know_their_source(self, tmp_path):
        folder = write_huggingface(tmp_path / "facebook" / "mask2former-swin-tiny-coco-panoptic")
        downloaded = LocalFiles(folder, "facebook/mask2former-swin-tiny-coco-panoptic", "0" * 40)
        assert default_image_config(convert_in_memory(downloaded).to_checkpoint())[0] == COCO
        assert default_image_config(convert_in_memory(folder).to_checkpoint())[0].size == (64, 64)

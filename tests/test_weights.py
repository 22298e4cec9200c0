"""The registry of weights and lucid's examples, with a hub on 127.0.0.1."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hub_files import publish, publish_resnet_18, small

import lucid_mlx
import lucid_mlx.weights as W
from lucid_mlx import InputError, models
from lucid_mlx.convert import convert
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights.catalog import catalog

NETWORKS = [f"mask2former_swin_{size}" for size in ("tiny", "small", "base", "large")]


def test_the_registry_has_25_files_and_4_defaults():
    entries = [entry for name in NETWORKS for entry in W.list_available(name).values()]
    assert len(entries) == 29
    assert len({entry.sha256 for entry in entries}) == 25
    assert [W.get_enum(name).DEFAULT.value.dataset for name in NETWORKS] == [
        "cityscapes_panoptic", "cityscapes_panoptic", "cityscapes_semantic", "cityscapes_panoptic"
    ]  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
def test_an_entry_s_configuration_has_the_parameters_that_the_file_has(network):
    for member in W.get_enum(network):
        config = models.Mask2FormerConfig(**member.config)
        assert models.Mask2Former(config).parameter_size == member.value.meta["parameters"], member


def test_large_models_have_200_queries_except_for_the_semantic_ones():
    queries = {tag: entry.config["num_queries"] for tag, entry in W.list_available("mask2former_swin_large").items()}
    assert {tag for tag, count in queries.items() if count == 100} == {"ADE20K_SEMANTIC", "CITYSCAPES_SEMANTIC"}


@pytest.mark.parametrize(
    "weights",
    [
        W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC,
        W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC.value,
        "mask2former_swin_small:ADE20K_SEMANTIC",
        "Mask2Former_Swin_Small:ade20k_semantic",
    ],
)
def test_a_member_an_entry_and_a_tag_are_the_same(weights):
    entry = W.resolve(weights)
    assert entry is W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC.value
    assert entry.url.endswith("lucid@main/weights/mask2former/mask2former_swin_small_ade20k_semantic.safetensors")


def test_a_tag_needs_its_network():
    assert W.resolve("COCO_INSTANCE", model_key="mask2former_swin_tiny").dataset == "coco_instance"
    with pytest.raises(InputError, match="the tag of which network"):
        W.resolve("COCO_INSTANCE")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: W.resolve("ADE", model_key="mask2former_swin_tiny"),
            "no weights 'ADE'; expected one of DEFAULT",
        ),
        (lambda: W.resolve("mask2former_swin_huge:X"), "no weights of 'mask2former_swin_huge'"),
        (lambda: W.get_enum("vgg"), "no weights of 'vgg'"),
        (lambda: W.resolve(7), "a member of a weights enumeration or a tag, got 7"),
    ],
)
def test_weights_that_are_not_registered_are_reported(call, message):
    with pytest.raises(InputError, match=message):
        call()
    assert W.list_available("vgg") == {}
    with pytest.raises(InputError, match="there are no weights of 'mask2former_resnet_18'"):
        models.mask2former_resnet_18(num_labels=133, weights="COCO_PANOPTIC")


def test_backbones_have_no_configuration():
    assert W.ResNet_50_Weights.DEFAULT.config is None
    assert W.Swin_Base_Weights.IMAGENET1K.value.dataset is None


def test_the_catalog_has_the_registry_and_the_29_official_models():
    names = [model.name for model in catalog()]
    assert len(names) == len(set(names)) == 25 + 29
    by_name = {model.name: model for model in catalog()}
    official = by_name["facebook/mask2former-swin-large-mapillary-vistas-panoptic"]
    assert (official.task, official.dataset, official.num_queries) == ("panoptic", "mapillary_vistas_panoptic", 200)
    # Computed from another model with the same backbone; these two are the same network.
    tiny = by_name["facebook/mask2former-swin-tiny-ade-semantic"]
    assert tiny.num_parameters == by_name["mask2former_swin_tiny:ADE20K_SEMANTIC"].num_parameters
    assert tiny.metric == by_name["mask2former_swin_tiny:ADE20K_SEMANTIC"].metric == "mIoU 47.7; mIoU (ms+flip) 49.6"
    # There are two official Swin-B models for this dataset; it is not known which one lucid's file is.
    assert by_name["mask2former_swin_base:COCO_INSTANCE"].metric == ""


TINY = W.Mask2Former_Swin_Tiny_Weights.ADE20K_SEMANTIC
SMALL = W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC


@pytest.fixture
def registered(hub, tmp_path, monkeypatch):
    """Publish a small network at a registered address; its query features."""
    return publish(hub, monkeypatch, SMALL, small(), tmp_path)


@pytest.fixture
def preset(hub, tmp_path, monkeypatch):
    """Publish a network with the backbone of the Swin-T preset and other numbers of queries and layers; its queries."""
    config = small(num_queries=7, backbone_config=TINY.config["backbone_config"])
    return publish(hub, monkeypatch, TINY, config, tmp_path)


def queries(model):
    return np.array(model.transformer_decoder.query_features)


def test_build_from_the_entry_s_configuration(registered):
    import lucid_mlx.models as models
    import lucid_mlx.weights as W

    weight = W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC
    config = models.Mask2FormerConfig(**weight.config)
    model = models.Mask2Former(config).from_pretrained(weight)

    assert np.array_equal(queries(model), registered)
    assert model.config.id2label[0] == "wall"


def test_build_with_the_builder_shortcut(preset):
    import lucid_mlx.models as models
    import lucid_mlx.weights as W

    model = models.mask2former_swin_tiny(
        num_labels=150,
        weights=W.Mask2Former_Swin_Tiny_Weights.ADE20K_SEMANTIC,
    )

    assert np.array_equal(queries(model), preset)
    assert (model.config.num_queries, model.config.hidden_dim) == (7, 32)  # the entry's, not the preset's


def test_a_builder_takes_a_tag_alone(preset):
    model = models.create_model("mask2former_swin_tiny", 150, weights="ADE20K_SEMANTIC")
    assert np.array_equal(queries(model), preset)


def test_a_builder_reports_another_number_of_classes_than_the_weights_have(preset):
    with pytest.raises(InputError, match="the weights have 150 classes, and num_labels is 19"):
        models.mask2former_swin_tiny(num_labels=19, weights=TINY)


def test_a_builder_refuses_the_weights_of_another_backbone(registered):
    with pytest.raises(InputError, match="the weights do not fit the model: .*backbone"):
        models.mask2former_swin_tiny(150, weights=SMALL)


def test_load_takes_a_member_an_entry_and_a_tag(registered):
    for weights in (SMALL, SMALL.value, "mask2former_swin_small:ADE20K_SEMANTIC"):
        assert np.array_equal(queries(lucid_mlx.load(weights)), registered)


def test_a_conversion_of_a_registered_file_records_its_source(registered, tmp_path):
    metadata = W.read_checkpoint(convert(SMALL, tmp_path / "ours")).metadata
    assert metadata["source"] == SMALL.value.url.replace("@main", "")
    assert metadata["sha256"] == SMALL.value.sha256
    assert metadata["license"] == "cc-by-nc-4.0"
    assert metadata["dataset"] == "ade20k_semantic"
    assert metadata["family"] == "lucid2"


def test_a_file_that_its_publisher_replaced_is_not_loaded(registered, monkeypatch):
    monkeypatch.setattr(SMALL, "_value_", replace(SMALL.value, sha256="0" * 64))
    with pytest.raises(InputError, match="expected 0000.*its publisher replaced it"):
        models.Mask2Former(models.Mask2FormerConfig(**SMALL.config)).from_pretrained(SMALL)


def test_a_pretrained_backbone_comes_from_the_registry(hub, tmp_path, monkeypatch):
    member = W.ResNet_18_Weights.DEFAULT
    backbone = publish_resnet_18(hub, monkeypatch, member, tmp_path)
    model = models.mask2former_resnet_18(3, pretrained_backbone=True)
    filled = named_parameters(model)
    for name, array in backbone.items():
        assert mx.array_equal(filled[name], array.astype(mx.float32)), name
    monkeypatch.setattr(member, "_value_", replace(member.value, sha256="0" * 64))
    with pytest.raises(InputError, match="its publisher replaced it"):
        models.mask2former_resnet_18(3, pretrained_backbone=True)


@pytest.mark.parametrize("network", models.list_models("mask2former_*"))
def test_every_builder_has_a_pretrained_backbone(network):
    from lucid_mlx.models.vision.mask2former.builders import IMAGENET
    from lucid_mlx.weights.address import HubAddress, parse_address

    assert isinstance(parse_address(IMAGENET[network]), HubAddress)

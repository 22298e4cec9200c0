"""The registry of weights and the seed examples, against a hub on 127.0.0.1."""

import pytest
from helpers import small_model

import lucid_mlx
import lucid_mlx.weights as W
from lucid_mlx import InputError, models
from lucid_mlx.weights.catalogue import catalogue

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


def test_large_models_have_200_queries_but_for_the_semantic_ones():
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
        (lambda: W.resolve("ADE", model_key="mask2former_swin_tiny"), "no weights 'ADE'; there are DEFAULT, ADE20K"),
        (lambda: W.resolve("mask2former_swin_huge:X"), "no weights of 'mask2former_swin_huge'"),
        (lambda: W.get_enum("vgg"), "no weights of 'vgg'"),
        (lambda: W.resolve(7), "a member of a weights enumeration or a tag, got 7"),
    ],
)
def test_what_is_not_registered_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()
    assert W.list_available("vgg") == {}


def test_backbones_have_no_configuration():
    assert W.ResNet_50_Weights.DEFAULT.config is None
    assert W.Swin_Base_Weights.IMAGENET1K.value.dataset is None


def test_the_catalogue_has_the_registry_and_the_29_official_models():
    names = [model.name for model in catalogue()]
    assert len(names) == len(set(names)) == 25 + 29
    by_name = {model.name: model for model in catalogue()}
    official = by_name["facebook/mask2former-swin-large-mapillary-vistas-panoptic"]
    assert (official.task, official.dataset, official.queries) == ("panoptic", "mapillary_vistas_panoptic", 200)
    # Counted through another model with the same backbone; these two are the same network.
    tiny = by_name["facebook/mask2former-swin-tiny-ade-semantic"]
    assert tiny.parameters == by_name["mask2former_swin_tiny:ADE20K_SEMANTIC"].parameters
    assert tiny.metric == by_name["mask2former_swin_tiny:ADE20K_SEMANTIC"].metric == "mIoU 47.7; mIoU (ms+flip) 49.6"
    # Two official Swin-B models for this dataset: which one lucid's file is, nobody says.
    assert by_name["mask2former_swin_base:COCO_INSTANCE"].metric == ""


@pytest.fixture
def registered(hub, tmp_path, monkeypatch):
    """A file of lucid's in the fake hub, of a small network, and the entry of it in the registry."""
    from hub_files import publish_lucid

    return publish_lucid(hub, monkeypatch, tmp_path)


def test_build_from_the_entry_s_configuration(registered):
    weight = W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC
    config = models.Mask2FormerConfig(**weight.config)
    model = models.Mask2Former(config).from_pretrained(weight)
    assert isinstance(model, models.Mask2Former)
    registered.assert_filled(model)
    assert model.config.id2label[0] == "wall"


def test_build_with_the_builder_shortcut(registered):
    model = models.mask2former_swin_small(num_labels=150, weights=W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC)
    registered.assert_filled(model)
    registered.assert_filled(models.mask2former_swin_small(150, weights="ADE20K_SEMANTIC"))
    registered.assert_filled(models.create_model("mask2former_swin_small", 150, weights="ADE20K_SEMANTIC"))


def test_a_builder_adopts_the_entry_s_queries(registered):
    assert registered.queries == 7
    assert models.mask2former_swin_small(150, weights="ADE20K_SEMANTIC").config.num_queries == 7


def test_a_builder_asked_for_other_classes_than_the_weights_have_says_so(registered):
    with pytest.raises(InputError, match="has 150 classes, not the 19 of num_labels"):
        models.mask2former_swin_small(num_labels=19, weights="ADE20K_SEMANTIC")


def test_a_builder_refuses_the_weights_of_another_network(registered):
    with pytest.raises(InputError, match="mask2former_swin_tiny has no weights|do not fit"):
        models.mask2former_swin_tiny(150, weights=W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC)


def test_load_takes_a_member_and_a_tag(registered):
    registered.assert_filled(lucid_mlx.load(W.Mask2Former_Swin_Small_Weights.ADE20K_SEMANTIC))
    registered.assert_filled(lucid_mlx.load("mask2former_swin_small:ADE20K_SEMANTIC"))


def test_a_builder_takes_a_converted_folder(tmp_path):
    model = small_model()
    with pytest.raises(InputError, match="do not fit"):
        models.mask2former_swin_tiny(5, weights=_saved(model, tmp_path / "small"))


def _saved(model, folder):
    return W.write_checkpoint(folder, model.config.to_dict(), dict(lucid_mlx.weights.fill.named_parameters(model)), {}, {})

"""lucid 3's names over this network: the calls of its documentation, its keys, its formula."""

import hashlib
import inspect
import json
from dataclasses import fields

import mlx.core as mx
import numpy as np
import pytest
from helpers import SWIN, small_model

import lucid_mlx
import lucid_mlx.compat.lucid3 as lucid3
from lucid_mlx import models
from lucid_mlx.compat.lucid3 import builders
from lucid_mlx.errors import InputError

SMALL = {
    "num_classes": 5, "swin_embed_dim": 8, "swin_depths": (1, 1, 2, 1), "swin_num_heads": (1, 2, 2, 4),
    "swin_window_size": 4, "swin_mlp_ratio": 2.0, "d_model": 32, "mask_feature_size": 16, "n_head": 4,
    "num_encoder_layers": 1, "encoder_feedforward_dim": 16, "num_decoder_layers": 4, "dim_feedforward": 16,
    "num_queries": 6, "train_num_points": 64,
}  # fmt: skip


def small(seed: int = 0, **overrides) -> lucid3.Mask2FormerForSemanticSegmentation:
    mx.random.seed(seed)
    model = lucid3.Mask2FormerForSemanticSegmentation(lucid3.Mask2FormerConfig(**{**SMALL, **overrides}))
    return model.eval()


def test_the_example_of_the_builders():
    import lucid_mlx.compat.lucid3 as lucid
    from lucid_mlx.compat.lucid3 import mask2former_swin_tiny

    model = mask2former_swin_tiny()
    x = lucid.randn(1, 3, 384, 384)
    out = model(x)
    assert out.logits.shape == (1, 150, 384, 384)
    assert out.loss is None
    assert model.config.num_classes == 150


def test_a_configuration_is_overridden_by_keyword():
    model = lucid3.mask2former_swin_tiny(num_queries=20, num_decoder_layers=3)
    assert isinstance(model, lucid3.Mask2FormerForSemanticSegmentation)
    out = model.eval()(lucid3.randn(1, 3, 128, 128))
    assert isinstance(out, lucid3.SemanticSegmentationOutput)
    assert out.logits.shape == (1, model.config.num_classes, 128, 128)
    assert model.network.config.num_queries == 20


def test_signatures_are_those_of_lucid_3():
    for name in builders.NAMES:
        parameters = inspect.signature(getattr(lucid3, name)).parameters
        assert list(parameters) == ["pretrained", "weights", "overrides"]
        assert parameters["pretrained"].default is False
        assert parameters["weights"].kind is inspect.Parameter.KEYWORD_ONLY
    forward = inspect.signature(lucid3.Mask2FormerForSemanticSegmentation.forward)
    assert list(forward.parameters) == ["self", "x", "targets"]
    assert [field.name for field in fields(lucid3.SemanticSegmentationOutput)] == ["logits", "loss", "hidden_states"]
    assert [field.name for field in fields(lucid3.WeightEntry)] == [
        "url",
        "sha256",
        "num_classes",
        "transforms",
        "meta",
    ]


def test_parameters_are_counted_with_and_without_frozen_ones():
    model = small()
    count = model.num_parameters()
    assert count == sum(x.size for key, x in model.state_dict().items())
    model.network.backbone.freeze()
    frozen = sum(x.size for key, x in model.state_dict().items() if key.startswith("pixel_level_module.encoder."))
    assert model.num_parameters(only_trainable=True) == count - frozen
    assert model.num_parameters() == count


def test_logits_are_lucids_formula():
    model = small()
    x = lucid_mlx.random.randn(2, 3, 50, 70)
    out, network = model(x), model.network(x)
    masks = np.array(network["masks_queries_logits"])
    rows, columns = (
        np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1) for n, m in zip((50, 70), masks.shape[2:], strict=True)
    )
    low, share = np.floor(rows).astype(int), (rows % 1)[:, None]
    resized = masks[:, :, low] * (1 - share) + masks[:, :, np.minimum(low + 1, masks.shape[2] - 1)] * share
    low, share = np.floor(columns).astype(int), columns % 1
    resized = resized[..., low] * (1 - share) + resized[..., np.minimum(low + 1, masks.shape[3] - 1)] * share
    classes = np.exp(np.array(network["class_queries_logits"]))
    classes = (classes / classes.sum(-1, keepdims=True))[..., :-1]
    expected = np.einsum("bqc,bqhw->bchw", classes, 1 / (1 + np.exp(-resized)))
    np.testing.assert_allclose(np.array(out.logits), expected, atol=1e-5)


def test_an_output_is_read_by_name_by_key_and_in_order():
    out = small()(lucid3.randn(1, 3, 32, 32))
    (logits,) = out
    assert logits is out.logits is out["logits"] is out[0]
    assert out.keys() == ["logits"]
    assert len(out) == 1
    assert "loss" not in out
    with pytest.raises(KeyError):
        out["loss"]


@pytest.mark.parametrize("array", [mx.array, np.asarray])
def test_targets_give_the_loss(array):
    model = small()
    x = lucid3.randn(2, 3, 32, 32)
    targets = [
        {"labels": array(np.array([1, 3])), "masks": array(np.ones((2, 32, 32), np.float32))},
        {"labels": array(np.zeros(0, np.int32)), "masks": array(np.zeros((0, 32, 32), np.float32))},
    ]
    mx.random.seed(3)
    out = model(x, targets)
    mx.random.seed(3)
    ours = model.network(x, mask_labels=[t["masks"] for t in targets], class_labels=[t["labels"] for t in targets])
    assert out.loss.item() == ours["loss"].item() > 0
    _, loss = out
    assert loss is out.loss


@pytest.mark.parametrize("targets", [{}, [{}], [{"labels": [1]}], 5, [5]])
def test_other_targets_are_refused(targets):
    with pytest.raises(InputError, match='targets must be a list with a dictionary {"labels": '):
        small()(lucid3.randn(1, 3, 32, 32), targets)


def test_a_folder_of_lucid_3_is_written_and_read(tmp_path):
    model = small()
    model.save_pretrained(tmp_path / "saved", safe_serialization=True)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["num_classes"] == 5
    assert {"config.json", "model.safetensors"} <= {file.name for file in (tmp_path / "saved").iterdir()}
    again = lucid3.Mask2FormerForSemanticSegmentation.from_pretrained(tmp_path / "saved").eval()
    x = lucid3.randn(1, 3, 32, 32)
    assert again.config == model.config
    assert mx.array_equal(again(x).logits, model(x).logits)
    network = lucid_mlx.load(tmp_path / "saved")
    assert network.config == model.network.config
    assert mx.array_equal(network(x)["class_queries_logits"], model.network(x)["class_queries_logits"])
    with pytest.raises(InputError, match="exists already"):
        model.save_pretrained(tmp_path / "saved")


def test_a_state_dict_has_lucid_3s_keys_and_loads():
    model, other = small(1), small(2)
    state = model.state_dict()
    assert "transformer_module.decoder.layers.0.cross_attn.out_proj_weight" in state
    other.load_state_dict(state)
    x = lucid3.randn(1, 3, 32, 32)
    assert mx.array_equal(model(x).logits, other(x).logits)


def test_any_checkpoint_with_a_swin_gets_lucid_3s_names(tmp_path):
    from lucid_mlx.weights import write_checkpoint

    network = small_model(backbone_config=SWIN)
    arrays = lucid_mlx.models.vision.mask2former.model.named_parameters(network)
    write_checkpoint(tmp_path / "ours", network.config.to_dict(), arrays, {}, {})
    model = lucid3.Mask2FormerForSemanticSegmentation.from_pretrained(tmp_path / "ours")
    assert model.config.swin_depths == (1, 1, 2, 1)
    assert lucid3.Mask2FormerConfig.from_dict(model.config.to_dict()) == model.config


@pytest.mark.parametrize("pretrained", [True, "ADE20K", "weights"])
def test_pretrained_weights_come_from_lucids_repository(pretrained, hub, monkeypatch, tmp_path):
    monkeypatch.setattr(builders, "_swin", lambda *args: lucid3.Mask2FormerConfig(**{**SMALL, "num_classes": 150}))
    model = small(7, num_classes=150)
    mx.save_safetensors(str(tmp_path / "model.safetensors"), model.state_dict())
    data = (tmp_path / "model.safetensors").read_bytes()
    hub.files["lucid-dl/mask2former-swin-tiny-ade"] = {"ADE20K/model.safetensors": data}
    entry = lucid3.Mask2FormerSwinTinyWeights.ADE20K.entry
    digest = hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(
        lucid3.Mask2FormerSwinTinyWeights.ADE20K, "_value_",
        lucid3.WeightEntry(entry.url, digest, entry.num_classes, entry.transforms, entry.meta),
    )  # fmt: skip
    weights = lucid3.Mask2FormerSwinTinyWeights.DEFAULT
    arguments = {"weights": weights} if pretrained == "weights" else {"pretrained": pretrained}
    filled = lucid3.mask2former_swin_tiny(**arguments).eval()
    x = lucid3.randn(1, 3, 32, 32)
    assert mx.array_equal(filled(x).logits, model(x).logits)
    assert filled.network.config.id2label[0] == "wall"


def test_registered_weights_have_lucids_fields():
    for name in ("Tiny", "Small", "Base", "Large"):
        enum = getattr(lucid3, f"Mask2FormerSwin{name}Weights")
        assert enum.DEFAULT is enum.ADE20K
        assert enum.ADE20K.tag == "ADE20K"
        assert enum.ADE20K.num_classes == 150
        assert len(enum.ADE20K.sha256) == 64
        assert f"lucid-dl/mask2former-swin-{name.lower()}-ade" in enum.ADE20K.url
        assert enum.ADE20K.meta["source"] == f"facebook/mask2former-swin-{name.lower()}-ade-semantic"


def test_transforms_prepare_an_image_as_the_weights_want_it():
    preprocess = lucid3.Mask2FormerSwinTinyWeights.ADE20K.transforms()
    assert preprocess.to_dict()["init_kwargs"]["crop_size"] == 384
    image = np.full((3, 20, 30), 255, np.uint8)
    pixels = preprocess(mx.array(image))
    assert pixels.shape == (3, 384, 384)
    np.testing.assert_allclose(np.array(pixels)[:, 0, 0], (1 - np.array(preprocess.mean)) / preprocess.std, rtol=1e-5)
    assert mx.allclose(preprocess(mx.ones((3, 20, 30))), pixels)
    with pytest.raises(InputError, match=r"\(3, height, width\)"):
        preprocess(mx.ones((1, 20, 30)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lucid3.mask2former_swin_tiny(num_labels=3), "did you mean"),
        (lambda: lucid3.mask2former_swin_tiny("COCO"), "True, False or one of ADE20K, DEFAULT"),
        (lambda: lucid3.mask2former_swin_tiny(weights=lucid3.Mask2FormerSwinBaseWeights.ADE20K), "member of"),
        (lambda: lucid3.Mask2FormerConfig(num_feature_levels=4), "num_feature_levels must be 3"),
        (lambda: lucid3.Mask2FormerConfig(swin_depths=2), "swin_depths must be a sequence"),
        (lambda: lucid3.Mask2FormerConfig(num_classes=0), "num_labels"),
        (lambda: lucid3.Mask2FormerForSemanticSegmentation(models.Mask2FormerConfig(5)), "compat.lucid3"),
        (lambda: small().save_pretrained("x", safe_serialization=False), "pickle"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "arguments", [{"pretrained": True}, {"num_classes": 5}, {"num_labels": 5, "pretrained": "ADE20K"}]
)
def test_the_builders_of_lucid_2_name_the_module_of_lucid_3(arguments):
    for builder in (models.mask2former_swin_tiny, lambda **x: models.create_model("mask2former_swin_tiny", **x)):
        with pytest.raises(InputError, match=r"lucid_mlx\.compat\.lucid3\.mask2former_swin_tiny takes"):
            builder(**arguments)

"""lucid 2.14's calls, names and signatures: what it documents is here, and what differs is told."""

import inspect
import json
from dataclasses import MISSING, asdict, fields

import mlx.core as mx
import numpy as np
import pytest
from helpers import DATA, small_model

import lucid_mlx.weights as W
from lucid_mlx import InputError, models

SIGNATURES = json.loads((DATA / "lucid_2_14_signatures.json").read_text())
PIXELS = mx.random.normal((1, 3, 64, 64), key=mx.random.key(1))
LABELS = {"mask_labels": [mx.ones((1, 64, 64))], "class_labels": [mx.array([2])]}


def function_of(name: str):
    module, _, path = name.partition(":")
    found = {"models": models, "weights": W}[module]
    for part in path.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", SIGNATURES["functions"])
def test_a_function_has_lucids_parameters_in_their_order_with_their_defaults(name):
    ours = list(inspect.signature(function_of(name)).parameters.values())
    for number, (parameter, default) in enumerate(SIGNATURES["functions"][name]):
        if parameter.startswith("**"):
            assert any(own.kind is inspect.Parameter.VAR_KEYWORD for own in ours)
            continue
        keyword_only = parameter.startswith("*")
        own = next(own for own in ours if own.name == parameter.lstrip("*"))
        if keyword_only:
            assert own.kind is inspect.Parameter.KEYWORD_ONLY
        else:
            assert ours[number].name == parameter
        if default != "required":
            assert own.default == default


@pytest.mark.parametrize("name", SIGNATURES["dataclasses"])
def test_a_dataclass_has_lucids_fields_in_their_order_with_their_defaults(name):
    known = {field.name: field for field in fields(function_of(name))}
    assert list(known) == [field for field, _ in SIGNATURES["dataclasses"][name]]
    for field, default in SIGNATURES["dataclasses"][name]:
        own = known[field]
        made = own.default_factory() if own.default_factory is not MISSING else own.default
        if default != "required":
            assert made == default
        else:
            assert made is MISSING


def test_an_unknown_keyword_is_named_in_one_warning_with_what_it_may_mean():
    model = small_model()
    with pytest.warns(UserWarning, match="takes no argument") as caught:
        outputs = model(PIXELS, mask_lables=LABELS["mask_labels"], image_ids=[3], return_dict=True)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "'mask_lables' (did you mean mask_labels?), 'image_ids'" in text
    assert "'return_dict'" in text
    assert caught[0].filename == __file__
    assert outputs["loss"] is None
    plain = model(PIXELS)
    assert mx.array_equal(plain["class_queries_logits"], outputs["class_queries_logits"])


def test_a_misspelt_name_beside_class_labels_is_named_and_refused():
    model = small_model()
    with pytest.warns(UserWarning, match=r"did you mean mask_labels\?"), pytest.raises(InputError, match="go together"):
        model(PIXELS, mask_lables=LABELS["mask_labels"], class_labels=LABELS["class_labels"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_of_numpy_are_taken(dtype):
    model = small_model()
    pixels, expected = np.array(PIXELS, dtype), model(PIXELS)["class_queries_logits"]
    mask = np.ones((1, 64, 64), np.int64)
    assert mx.allclose(model(pixels, pixel_mask=mask)["class_queries_logits"], expected, atol=1e-5)
    assert mx.array_equal(model.predict(pixels), model.predict(PIXELS))
    labels = {"mask_labels": [np.ones((1, 64, 64), np.float32)], "class_labels": [np.array([2])]}
    key = mx.random.key(0)
    assert model(pixels, **labels, key=key)["loss"].item() == pytest.approx(
        model(PIXELS, **LABELS, key=key)["loss"].item(), rel=1e-5
    )


@pytest.mark.parametrize("value", [None, "x", [[1.0]], np.array("x"), np.array([{}]), 3])
def test_what_is_no_array_is_refused_in_one_sentence(value):
    model = small_model()
    for call in (model, model.predict):
        with pytest.raises(InputError, match="pixel_values must be an array"):
            call(value)


def test_lucids_parts_are_the_models_own():
    model = small_model()
    assert model.class_predictor is model.transformer_decoder.class_head
    assert model.model.pixel_level_module.encoder is model.backbone
    assert model.model.pixel_level_module.decoder is model.pixel_decoder
    assert model.model.transformer_module is model.transformer_decoder
    assert model.class_predictor.weight.shape == (6, 32)


def test_the_body_returns_the_states_and_the_masks_of_all_predictions():
    model = small_model()
    outputs = model(PIXELS, output_auxiliary_logits=True, output_hidden_states=True)
    body = model.model(PIXELS, output_hidden_states=True)
    assert set(body) == set(outputs) - {"loss", "class_queries_logits", "auxiliary_logits"}
    assert len(body["masks_queries_logits"]) == model.config.decoder_layers
    assert mx.array_equal(body["masks_queries_logits"][-1], outputs["masks_queries_logits"])
    first = outputs["auxiliary_logits"][0]["masks_queries_logits"]
    assert mx.array_equal(body["masks_queries_logits"][0], first)


def test_the_criterion_and_its_weights_give_the_losses():
    model = small_model(class_weight=3.0, mask_weight=0.0)
    outputs = model(PIXELS, output_auxiliary_logits=True)
    predictions = (outputs["masks_queries_logits"], outputs["class_queries_logits"])
    arguments = (*predictions, *LABELS.values(), outputs["auxiliary_logits"])
    weighted = model.get_loss_dict(*arguments, key=mx.random.key(0))
    plain = model.criterion(*arguments, key=mx.random.key(0))
    assert dict(model.weight_dict) == {"loss_cross_entropy": 3.0, "loss_mask": 0.0, "loss_dice": 5.0}
    assert set(plain) == set(weighted)
    for name, loss in weighted.items():
        (weight,) = [weight for key, weight in model.criterion.weight_dict.items() if name.startswith(key)]
        assert loss.item() == pytest.approx(weight * plain[name].item(), rel=1e-5)
    with pytest.raises(TypeError):
        model.weight_dict["loss_mask"] = 1.0


def test_a_registered_configuration_has_all_fields():
    for size in ("Tiny", "Small", "Base", "Large"):
        for member in getattr(W, f"Mask2Former_Swin_{size}_Weights"):
            config = models.Mask2FormerConfig(**member.config)
            assert asdict(config) == member.config
            builder = models.mask2former_swin_tiny if size == "Tiny" else None
            if builder:
                assert builder.__name__ == member.value.meta["model"]


def test_a_configuration_of_the_registry_is_that_of_the_preset():
    member = W.Mask2Former_Swin_Tiny_Weights.ADE20K_SEMANTIC
    built = models.mask2former_swin_tiny(member.config["num_labels"])
    assert asdict(built.config) == member.config


def test_meta_has_lucids_keys():
    for member in (W.Mask2Former_Swin_Base_Weights.DEFAULT, W.ResNet_101_Weights.DEFAULT):
        meta = member.value.meta
        assert {"hf_repo", "hf_revision", "hf_filename", "parameter_size", "family", "enum_name"} <= set(meta)
        assert meta["enum_name"] == type(member).__name__
        path = f"weights/{meta['family']}/{meta['hf_filename']}"
        assert member.value.url == f"hf://{meta['hf_repo']}@{meta['hf_revision']}/{path}"


def test_apply_loads_weights_and_says_from_where(tmp_path):
    from lucid_mlx.utils.parameters import named_parameters

    model, other = small_model(1), small_model(2)
    W.write_checkpoint(tmp_path / "a", model.config.to_dict(), named_parameters(model), {}, {})
    assert W.apply(other, tmp_path / "a") == tmp_path / "a"
    assert mx.array_equal(other(PIXELS)["class_queries_logits"], model(PIXELS)["class_queries_logits"])

import copy
import pickle

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from helpers import RESNET, small_config, small_model
from mlx.utils import tree_flatten

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.compiled import LOGITS, Compiled
from lucid_mlx.models import Mask2Former, Mask2FormerConfig, create_model, list_models
from lucid_mlx.models.vision.mask2former.transformer_decoder import attention_mask

PARAMETERS = {
    "resnet_18": 30_972_567,
    "resnet_34": 41_080_727,
    "resnet_50": 44_041_367,
    "resnet_101": 63_033_495,
    "swin_tiny": 47_439_633,
    "swin_small": 68_757_537,
    "swin_base": 106_922_191,
    "swin_large": 215_488_779,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_presets_have_lucids_number_of_parameters(name):
    assert create_model(f"mask2former_{name}", num_labels=150).parameter_size == PARAMETERS[name]


def test_presets_are_known_by_name_and_importable_from_both_places():
    assert list_models("mask2former_*") == sorted(f"mask2former_{name}" for name in PARAMETERS)
    for name in list_models():
        assert getattr(lucid_mlx.models, name) is getattr(lucid_mlx.models.vision.mask2former, name)
    with pytest.raises(InputError, match="did you mean 'mask2former_swin_tiny'"):
        create_model("mask2former_swin_tinny")


def test_builders_take_fields_of_the_configuration():
    model = lucid_mlx.models.mask2former_resnet_18(7, num_queries=11, hidden_dim=64, decoder_layers=2)
    assert model.config.num_queries == 11
    assert model.transformer_decoder.class_head.weight.shape == (8, 64)
    with pytest.raises(InputError, match="no field 'num_querys'"):
        lucid_mlx.models.mask2former_swin_tiny(7, num_querys=11)


def test_images_of_another_number_of_channels_can_be_built_for():
    model = lucid_mlx.models.mask2former_swin_tiny(3, num_channels=4)
    assert model.backbone.patch_embedding.projection.weight.shape == (96, 4, 4, 4)


def test_a_network_needs_a_backbone():
    with pytest.raises(InputError, match="needs a backbone"):
        Mask2Former(Mask2FormerConfig(3))


def test_forward_returns_lucids_keys_and_shapes():
    model = small_model()
    out = model(
        lucid_mlx.random.randn(2, 3, 96, 128),
        output_hidden_states=True,
        output_attentions=True,
        output_auxiliary_logits=True,
    )
    assert set(out) == {
        "loss",
        "class_queries_logits",
        "masks_queries_logits",
        "auxiliary_logits",
        "encoder_last_hidden_state",
        "pixel_decoder_last_hidden_state",
        "transformer_decoder_last_hidden_state",
        "encoder_hidden_states",
        "pixel_decoder_hidden_states",
        "transformer_decoder_hidden_states",
        "transformer_decoder_intermediate_states",
        "attentions",
    }
    assert out["loss"] is None
    assert out["class_queries_logits"].shape == (2, 6, 6)
    assert out["masks_queries_logits"].shape == (2, 6, 24, 32)
    assert [x["masks_queries_logits"].shape for x in out["auxiliary_logits"]] == [(2, 6, 24, 32)] * 3
    assert [x["class_queries_logits"].shape for x in out["auxiliary_logits"]] == [(2, 6, 6)] * 3
    assert out["encoder_last_hidden_state"].shape == (2, 64, 3, 4)
    assert out["pixel_decoder_last_hidden_state"].shape == (2, 16, 24, 32)
    assert out["transformer_decoder_last_hidden_state"].shape == (2, 6, 32)
    assert [x.shape for x in out["encoder_hidden_states"]] == [
        (2, 8, 24, 32),
        (2, 16, 12, 16),
        (2, 32, 6, 8),
        (2, 64, 3, 4),
    ]
    assert [x.shape for x in out["pixel_decoder_hidden_states"]] == [
        (2, 32, 3, 4),
        (2, 32, 6, 8),
        (2, 32, 12, 16),
    ]
    assert [x.shape for x in out["transformer_decoder_hidden_states"]] == [(6, 2, 32)] * 4
    assert [x.shape for x in out["transformer_decoder_intermediate_states"]] == [(6, 2, 32)] * 4
    assert [x.shape for x in out["attentions"]] == [(2, 4, 6, 6)] * 3
    assert all(mx.isfinite(array).all().item() for _, array in tree_flatten(list(out.values())) if array is not None)


@pytest.mark.parametrize(
    ("field", "argument", "key"),
    [
        ({"use_auxiliary_loss": False}, {}, "auxiliary_logits"),
        ({"output_auxiliary_logits": False}, {}, "auxiliary_logits"),
        ({}, {"output_auxiliary_logits": False}, "auxiliary_logits"),
        ({}, {}, "encoder_hidden_states"),
        ({}, {}, "attentions"),
    ],
)
def test_entries_that_are_not_asked_for_are_none(field, argument, key):
    assert small_model(**field)(mx.zeros((1, 3, 32, 32)), **argument)[key] is None


@pytest.mark.parametrize("field", ["output_attentions", "output_hidden_states", "output_auxiliary_logits"])
def test_the_configuration_can_ask_for_entries(field):
    key = {"output_attentions": "attentions", "output_hidden_states": "encoder_hidden_states"}.get(
        field, "auxiliary_logits"
    )
    out = small_model(use_auxiliary_loss=False, **{field: True})(mx.zeros((1, 3, 32, 32)))
    assert out[key] is not None


def test_each_image_of_a_batch_gives_what_it_gives_alone():
    model = small_model()
    x = lucid_mlx.random.randn(3, 3, 40, 52)
    together = model(x)["masks_queries_logits"]
    for i in range(3):
        np.testing.assert_allclose(
            np.array(together[i]), np.array(model(x[i : i + 1])["masks_queries_logits"][0]), atol=2e-5
        )


def test_queries_whose_mask_is_empty_attend_everywhere():
    attend = attention_mask(mx.array([[[-1.0, -2.0, -3.0], [1.0, -1.0, 0.0]]]))
    assert attend.tolist() == [[[True, True, True], [True, False, True]]]


def test_every_trainable_parameter_receives_a_finite_gradient():
    model = small_model(backbone_config=RESNET, dropout=0.1)
    model.train()
    x = lucid_mlx.random.randn(2, 3, 64, 64)

    def loss(model):
        out = model(x)
        auxiliary = out["auxiliary_logits"]
        return sum(
            mx.square(entry[key]).mean()
            for entry in [out, *auxiliary]
            for key in ("class_queries_logits", "masks_queries_logits")
        )

    gradients = tree_flatten(nn.value_and_grad(model, loss)(model)[1])
    assert len(gradients) == len(tree_flatten(model.trainable_parameters()))
    for name, gradient in gradients:
        assert mx.isfinite(gradient).all().item(), name
        if "key_projection.bias" not in name:  # zero in theory: softmax ignores a constant
            assert mx.abs(gradient).max().item() > 0, name


def test_half_precision_runs_in_it():
    model = small_model(1)
    pixels = mx.random.normal((1, 3, 64, 64), key=mx.random.key(1))  # one color leaves masks on their edges
    exact = model(pixels)["class_queries_logits"]
    model.set_dtype(mx.float16)
    half = model(pixels)["class_queries_logits"]
    assert half.dtype == mx.float16
    np.testing.assert_allclose(np.array(half.astype(mx.float32)), np.array(exact), atol=0.05)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (mx.zeros((3, 32, 32)), "(batch, 3, height, width), got (3, 32, 32)"),
        (mx.zeros((1, 4, 32, 32)), "got (1, 4, 32, 32)"),
        (mx.zeros((1, 3, 0, 32)), "got (1, 3, 0, 32)"),
        (np.zeros((3, 32, 32)), "(batch, 3, height, width), got (3, 32, 32)"),
        ([[[[0.0]]]], "must be an array of MLX or NumPy, got"),
    ],
)
def test_pixel_values_of_a_wrong_kind_are_refused(value, message):
    with pytest.raises(InputError) as error:
        small_model()(value)
    assert message in str(error.value)


def test_a_pixel_mask_of_another_shape_is_refused():
    model, x = small_model(), mx.zeros((1, 3, 32, 32))
    with pytest.raises(InputError, match="pixel_mask must have the shape"):
        model(x, pixel_mask=mx.zeros((1, 32, 33)))


class TestPredict:
    def test_returns_an_int32_map_of_the_image_s_size(self):
        result = small_model().predict(lucid_mlx.random.randn(2, 3, 50, 77))
        assert result.shape == (2, 50, 77)
        assert result.dtype == mx.int32

    def test_returns_logits_and_scores_when_asked(self):
        x = lucid_mlx.random.randn(1, 3, 32, 64)
        result = small_model().predict(x, return_logits=True, return_scores=True)
        assert set(result) == {"segmentation", "logits", "scores"}
        assert result["logits"].shape == (1, 5, 32, 64)
        assert mx.array_equal(result["segmentation"], mx.argmax(result["logits"], axis=1))
        np.testing.assert_allclose(
            np.array(result["scores"]), np.array(mx.softmax(result["logits"], axis=1).max(axis=1)), rtol=1e-6
        )
        assert set(small_model().predict(x, return_scores=True)) == {"segmentation", "scores"}

    def test_crops_its_padding_instead_of_resizing_it_into_the_image(self):
        model = small_model()
        x = lucid_mlx.random.randn(1, 3, 40, 52)
        padded = mx.pad(x, [(0, 0), (0, 0), (0, 24), (0, 12)])
        whole = model.predict(padded, return_logits=True)["logits"]
        cropped = model.predict(x, return_logits=True)["logits"]
        np.testing.assert_allclose(np.array(cropped), np.array(whole[:, :, :40, :52]), atol=1e-5)

    def test_a_pixel_mask_says_that_images_are_padded_already(self):
        model = small_model()
        x = lucid_mlx.random.randn(1, 3, 40, 52)
        direct = model.predict(x, pixel_mask=mx.ones((1, 40, 52)), return_logits=True)["logits"]
        scores = model(x)
        classes = mx.softmax(scores["class_queries_logits"], axis=-1)[..., :-1]
        maps = mx.einsum("bqc,bqhw->bchw", classes, mx.sigmoid(scores["masks_queries_logits"]))
        wanted = lucid_mlx.ops.resize_planes(maps, (40, 52))
        np.testing.assert_allclose(np.array(direct), np.array(wanted), atol=1e-5)

    def test_resizes_to_the_output_size(self):
        model = small_model()
        x = lucid_mlx.random.randn(2, 3, 64, 64)
        assert model.predict(x, output_size=(50, 60)).shape == (2, 50, 60)
        half = model.predict(x, output_size=(16, 16), return_logits=True)["logits"]
        assert half.shape == (2, 5, 16, 16)

    def test_restores_the_mode_of_every_module(self):
        model = small_model(dropout=0.5)
        model.train()
        model.backbone.eval()
        x = lucid_mlx.random.randn(1, 3, 32, 32)
        first, second = (model.predict(x, return_logits=True)["logits"] for _ in range(2))
        assert mx.array_equal(first, second)
        assert model.training
        assert not model.backbone.training

    def test_restores_the_modes_after_an_error_too(self, monkeypatch):
        model = small_model()
        model.train()

        def fail(self, maps):
            raise RuntimeError("on purpose")

        monkeypatch.setattr(type(model.pixel_decoder), "__call__", fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            model.predict(lucid_mlx.random.randn(1, 3, 32, 32))
        assert model.training
        assert model.backbone.training

    def test_computes_scores_in_float32_in_half_precision(self):
        model = small_model()
        model.set_dtype(mx.bfloat16)
        result = model.predict(lucid_mlx.random.randn(1, 3, 32, 32), return_logits=True)
        assert result["logits"].dtype == mx.float32

    def test_keeps_the_queries_that_most_probably_show_an_object(self):
        model = small_model()
        x = lucid_mlx.random.randn(2, 3, 64, 64)
        out = model(x)
        classes = np.array(mx.softmax(out["class_queries_logits"], axis=-1))
        masks = np.array(mx.sigmoid(out["masks_queries_logits"]))
        wanted = []
        for b in range(2):
            kept = np.argsort(classes[b, :, -1])[:2]
            wanted.append(np.einsum("qc,qhw->chw", classes[b, kept, :-1], masks[b, kept]))
        logits = model.predict(x, output_size=(16, 16), top_k_queries=2, return_logits=True)["logits"]
        np.testing.assert_allclose(np.array(logits), np.stack(wanted), atol=1e-5)
        all_queries = model.predict(x, return_logits=True)["logits"]
        assert mx.array_equal(model.predict(x, top_k_queries=99, return_logits=True)["logits"], all_queries)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"output_size": (0, 5)}, "output_size"),
            ({"output_size": 5}, "output_size"),
            ({"output_size": (5,)}, "output_size"),
            ({"output_size": "ab"}, "output_size"),
            ({"top_k_queries": 0}, "top_k_queries"),
            ({"top_k_queries": 1.5}, "top_k_queries"),
            ({"top_k_queries": True}, "top_k_queries"),
            ({"pixel_mask": [1]}, "pixel_mask"),
        ],
    )
    def test_arguments_that_are_none_are_refused(self, arguments, message):
        with pytest.raises(InputError, match=message):
            small_model().predict(mx.zeros((1, 3, 32, 32)), **arguments)

    @pytest.mark.parametrize("value", [mx.nan, mx.inf])
    def test_pixels_that_are_no_numbers_are_refused(self, value):
        with pytest.raises(InputError, match="NaN or infinite"):
            small_model().predict(mx.full((1, 3, 32, 32), value))


def test_initial_offsets_point_in_as_many_directions_as_there_are_heads():
    mx.random.seed(0)
    layer = Mask2Former(small_config(num_attention_heads=8)).pixel_decoder.layers[0]
    offsets = np.array(layer.attention.sampling_offsets.bias).reshape(8, 3, 4, 2)
    np.testing.assert_allclose(offsets[0, 0], [[1, 0], [2, 0], [3, 0], [4, 0]], atol=1e-6)
    np.testing.assert_allclose(offsets[1, 2, 3], [4, 4], atol=1e-5)
    np.testing.assert_allclose(offsets[2, 1, 0], [0, 1], atol=1e-6)
    assert mx.abs(layer.attention.attention_weights.weight).max().item() == 0


def test_a_model_can_be_copied():
    model = small_model(activation_function="gelu")
    x = mx.ones((1, 3, 32, 32))
    assert mx.array_equal(copy.deepcopy(model)(x)["masks_queries_logits"], model(x)["masks_queries_logits"])


def test_nan_pixels_give_nan_and_end_nothing():
    x = mx.ones((1, 3, 64, 64)).at[0, 0, 5, 5].add(mx.nan)
    assert mx.isnan(small_model()(x)["class_queries_logits"]).all().item()


@pytest.mark.parametrize("predictions", [1, 2, 3])
def test_a_decoder_may_have_fewer_layers_than_levels(predictions):
    outputs = small_model(decoder_layers=predictions)(mx.zeros((1, 3, 64, 64)), output_auxiliary_logits=True)
    assert len(outputs["auxiliary_logits"]) == predictions - 1
    assert mx.isfinite(outputs["class_queries_logits"]).all().item()


class TestCompiled:
    def test_a_compiled_network_computes_the_same_at_every_shape(self):
        model = small_model().eval()
        run = Compiled(model)
        for shape in ((1, 3, 64, 64), (2, 3, 64, 96), (1, 3, 64, 64)):
            pixels = mx.random.normal(shape, key=mx.random.key(0))
            wanted, got = model(pixels), run(pixels)
            for name in LOGITS:
                assert mx.allclose(got[name], wanted[name], atol=1e-4).item(), name

    def test_new_weights_are_seen(self):
        model = small_model().eval()
        run, pixels = Compiled(model), mx.ones((1, 3, 64, 64))
        before = run(pixels)["class_queries_logits"]
        model.transformer_decoder.class_head.bias = model.transformer_decoder.class_head.bias + 1.0
        assert mx.allclose(run(pixels)["class_queries_logits"], before + 1.0, atol=1e-4).item()

    def test_an_error_while_mlx_traces_leaves_the_model_as_it_was(self):
        model = small_model().eval()
        run, pixels = Compiled(model), mx.ones((1, 3, 64, 64))
        with pytest.raises(InputError, match="must have the shape"):
            run(mx.ones((1, 5, 64, 64)))
        assert mx.allclose(run(pixels)["class_queries_logits"], model(pixels)["class_queries_logits"], atol=1e-4).item()

    def test_it_can_be_copied_and_pickled(self):
        run, pixels = Compiled(small_model().eval()), mx.ones((1, 3, 64, 64))
        wanted = run(pixels)["class_queries_logits"]
        for other in (copy.copy(run), pickle.loads(pickle.dumps(run))):
            assert mx.array_equal(other(pixels)["class_queries_logits"], wanted).item()

    @pytest.mark.cpu("MLX compiles nothing where a GPU is believed in")
    def test_shapes_beyond_a_few_are_forgotten(self, monkeypatch):
        monkeypatch.setattr("lucid_mlx.compiled.COMPILED_SHAPES", 2)
        model, seen = small_model().eval(), []
        monkeypatch.setattr(type(model), "__call__", lambda self, pixels: seen.append(pixels.shape) or logits(pixels))

        def logits(pixels):
            return {"class_queries_logits": pixels + 1, "masks_queries_logits": pixels + 2}

        run = Compiled(model)
        for side in (1, 2, 1, 3, 1, 2):
            run(mx.zeros((1, 1, side, side)))
        assert [shape[-1] for shape in seen] == [1, 2, 3, 2]

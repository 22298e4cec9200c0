"""State dicts under lucid's names: the keys and shapes of its files, and back."""

import mlx.core as mx
import numpy as np
import pytest
from helpers import RESNET, key_list, small_model

from lucid_mlx import models
from lucid_mlx.convert.lucid_state import load_lucid_state_dict, lucid_state_dict
from lucid_mlx.errors import InputError
from lucid_mlx.utils.parameters import named_parameters

BUILDERS = {
    "lucid2_swin_tiny": models.mask2former_swin_tiny,
    "lucid2_resnet_18": models.mask2former_resnet_18,
    "lucid3_swin_tiny": models.mask2former_swin_tiny,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_it_has_the_keys_and_shapes_of_lucids_own(name):
    state = lucid_state_dict(BUILDERS[name](150), name[:6])
    assert {key: tuple(array.shape) for key, array in state.items()} == key_list(name)


@pytest.mark.parametrize("family", ["lucid2", "lucid3"])
def test_it_loads_into_another_model(family):
    model, other = small_model(seed=1), small_model(seed=2)
    load_lucid_state_dict(other, lucid_state_dict(model, family), family=family)
    ours, theirs = named_parameters(model), named_parameters(other)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_model_has_it_as_methods():
    model, other = small_model(seed=1, backbone_config=RESNET), small_model(seed=2, backbone_config=RESNET)
    state = {key: np.array(array) for key, array in model.state_dict().items()}
    other.load_state_dict(state)
    x = mx.random.normal((1, 3, 64, 64))
    assert mx.array_equal(model(x)["class_queries_logits"], other(x)["class_queries_logits"])


def test_a_bias_table_in_the_order_of_lucids_own_models_is_reordered():
    model, other = small_model(seed=1), small_model(seed=2)
    state = model.state_dict()
    for key in [key for key in state if key.endswith("relative_pos_index")]:
        window = round(state[key].size ** 0.25)
        table = key.replace("relative_pos_index", "relative_position_bias_table")
        rows = state[table].reshape(2 * window - 1, 2 * window - 1, -1)
        state[table] = rows.swapaxes(0, 1).reshape(state[table].shape)
        by_column = np.array(state[key]) % (2 * window - 1) * (2 * window - 1)
        state[key] = mx.array(by_column + np.array(state[key]) // (2 * window - 1))
    other.load_state_dict(state)
    ours, theirs = named_parameters(model), named_parameters(other)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_one_error_lists_all_that_does_not_fit_and_nothing_is_loaded():
    model = small_model()
    state, before = model.state_dict(), named_parameters(model)
    state["class_predictor.bias"] = mx.zeros(9)
    state["other.weight"] = state.pop("model.transformer_module.queries_embedder.weight")
    with pytest.raises(InputError) as raised:
        model.load_state_dict(state)
    for part in ("other.weight", "query", "class_head.bias", "[9]"):
        assert part in str(raised.value)
    assert all(mx.array_equal(before[name], after).item() for name, after in named_parameters(model).items())


def test_without_strict_the_rest_is_left_alone():
    model, other = small_model(seed=1), small_model(seed=2)
    before = named_parameters(other)
    other.load_state_dict(
        {"class_predictor.bias": model.state_dict()["class_predictor.bias"], "x": mx.zeros(1)}, strict=False
    )
    after = named_parameters(other)
    name = "transformer_decoder.class_head.bias"
    assert mx.array_equal(after[name], named_parameters(model)[name])
    assert all(mx.array_equal(before[key], after[key]).item() for key in before if key != name)


@pytest.mark.parametrize(
    "state", [None, [1], {1: mx.zeros(1)}, {"class_predictor.bias": "x"}, {"class_predictor.bias": np.array("x")}]
)
def test_what_is_no_state_dict_is_refused_in_one_sentence(state):
    with pytest.raises(InputError, match="state dict"):
        small_model().load_state_dict(state)

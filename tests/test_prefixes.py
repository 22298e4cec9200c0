"""Checkpoints as trainers save them: prefixes, wrappers, averaged copies, other networks beside."""

import warnings

import numpy as np
import pytest
from helpers import huggingface_arrays, run_cli
from safetensors.numpy import save_file
from torch_writer import Module, save_legacy, save_zip

import lucid_mlx
from lucid_mlx import InputError

RAW = huggingface_arrays()
AVERAGED = huggingface_arrays(1)
HEAD = "class_predictor.bias"


def under(prefix, arrays=RAW):
    return {prefix + key: array for key, array in arrays.items()}


def is_filled_with(model, arrays):
    return np.array_equal(np.array(model.transformer_decoder.class_head.bias), arrays[HEAD])


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "model.",
        "module.",
        "_orig_mod.",
        "net.",
        "ema_model.",
        "model._orig_mod.module.",
        "student.network.0.",
        "m.m.",
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt", "pth", "bin"])
def test_a_prefix_of_all_keys_is_taken_off(tmp_path, prefix, suffix):
    path = tmp_path / f"x.{suffix}"
    save_file(under(prefix), path) if suffix == "safetensors" else save_zip(under(prefix), path)
    assert is_filled_with(lucid_mlx.load(path), RAW)


def test_wrappers_of_single_modules_are_taken_off(tmp_path):
    keys = {key.replace("transformer_module.", "transformer_module._orig_mod."): array for key, array in RAW.items()}
    keys = {key.replace(".encoder.", "._fsdp_wrapped_module.encoder."): array for key, array in keys.items()}
    assert is_filled_with(lucid_mlx.load(save_zip(keys, tmp_path / "x.pth")), RAW)


@pytest.mark.parametrize(
    "tree",
    [
        *({name: RAW, "epoch": 3} for name in ("state_dict", "model", "model_state_dict", "net", "params", "module",
          "network", "ema", "weights", "generator", "anything at all")),
        {"model": {"state_dict": RAW}, "optimizer": {"state": {0: {"exp_avg": np.zeros(3, np.float32)}}}},
        {"state_dict": under("model."), "pytorch-lightning_version": "2.4.0", "loops": {"a": [1]}},
        (RAW, {"lr": 0.1}),
        Module(_modules={"model": Module(_parameters=under("model."), _buffers={}, _modules={})}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_wrapper_of_any_name_is_opened(tmp_path, tree, save):
    assert is_filled_with(lucid_mlx.load(save(tree, tmp_path / "x.pth")), RAW)


def test_other_networks_beside_it_are_counted_and_left_out(tmp_path):
    others = {
        "criterion.weight": np.ones(3, np.float32),
        "metric.total": np.ones(2, np.float32),
        "metric.n": np.ones(1),
    }
    path = tmp_path / "x.safetensors"
    save_file(under("model.") | others, path)
    with pytest.warns(UserWarning, match=r"3 of its 189 tensors .* left out: metric \(2\), criterion \(1\)"):
        assert is_filled_with(lucid_mlx.load(path), RAW)


BOTH = [
    ({"model": RAW, "model_ema": AVERAGED}, "model"),
    ({"state_dict": RAW, "state_dict_ema": AVERAGED}, "state_dict"),
    ({"state_dict": under("model.") | under("ema_model.module.", AVERAGED)}, "state_dict.model"),
    ({"ema": {"module": AVERAGED}, "net": RAW}, "net"),
    ({"avg_model": {"n_averaged": np.ones(1, np.int64)} | under("module.", AVERAGED), "model": RAW}, "model"),
]


@pytest.mark.parametrize(("tree", "name"), BOTH)
def test_the_raw_weights_are_taken_unless_the_averaged_are_asked_for(tmp_path, tree, name):
    path = save_zip(tree, tmp_path / "x.pth")
    with pytest.warns(UserWarning, match=f"2 copies of the network; the raw weights, '{name}.*convert --ema"):
        assert is_filled_with(lucid_mlx.load(path), RAW)
    with pytest.warns(UserWarning, match=r"the averaged \(EMA\) weights"):
        assert is_filled_with(lucid_mlx.load(path, ema=True), AVERAGED)


@pytest.mark.parametrize(
    ("tree", "raw"),
    [
        ({"state_dict": AVERAGED, "ema_state_dict": {"steps": np.ones(1, np.float32)} | under("module.", RAW)},
         "ema_state_dict"),
        ({"state_dict": AVERAGED, "current_model_state": RAW}, "current_model_state"),
    ],
    ids=["mmengine's EMAHook", "Lightning's WeightAveraging"],
)  # fmt: skip
def test_trainers_that_save_averaged_weights_as_the_model_s_own_are_known(tmp_path, tree, raw):
    path = save_zip(tree, tmp_path / "x.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert is_filled_with(lucid_mlx.load(path, ema=True), AVERAGED)
        assert is_filled_with(lucid_mlx.load(path, key=raw), RAW)


@pytest.mark.parametrize("holder", [{}, {"averaged": {}}], ids=["alone", "in a dictionary"])
def test_a_file_with_averaged_weights_alone_has_them(tmp_path, holder):
    swa = {"n_averaged": np.ones(1, np.int64)} | under("module.", AVERAGED)
    path = save_zip(dict.fromkeys(holder, swa) or swa, tmp_path / "x.pth")
    assert is_filled_with(lucid_mlx.load(path, ema=True), AVERAGED)
    assert is_filled_with(lucid_mlx.load(path), AVERAGED)


def test_two_networks_need_a_key_and_a_wrong_key_lists_what_there_is(tmp_path):
    path = save_zip({"nets": {"student": RAW, "teacher": AVERAGED}}, tmp_path / "x.pth")
    with pytest.raises(
        InputError, match=r"2 networks: 'nets.student', 'nets.teacher'; name one: lucid-mlx convert FILE --key"
    ):
        lucid_mlx.load(path)
    assert is_filled_with(lucid_mlx.load(path, key="nets.teacher"), AVERAGED)
    run_cli("convert", path, "-o", tmp_path / "ours", "--key", "nets.student")
    with pytest.raises(InputError, match=r"no 'nets.pupil' with tensors in it; tensors are in .*student"):
        lucid_mlx.load(path, key="nets.pupil")
    with pytest.raises(InputError, match="no averaged"):
        lucid_mlx.load(save_zip(RAW, tmp_path / "y.pth"), ema=True)


def test_the_dictionary_may_be_of_any_class(tmp_path):
    path = save_zip(Module(state_dict=RAW, hyper_parameters={"class_names": ["a", "b", "c"]}), tmp_path / "x.ckpt")
    assert lucid_mlx.load(path).config.id2label == {0: "a", 1: "b", 2: "c"}


def test_tensors_that_are_not_plain_are_told(tmp_path):
    path = save_zip({**RAW, HEAD: np.zeros(4, np.complex64)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"1 of its tensors are not plain ones but torch.ComplexFloatTensor"):
        lucid_mlx.load(path)
    beside = save_zip({"model": RAW, "frequencies": {"x": np.zeros(4, np.complex64)}}, tmp_path / "y.pth")
    with pytest.warns(UserWarning, match="left out"):
        assert is_filled_with(lucid_mlx.load(beside), RAW)

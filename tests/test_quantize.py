import json

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_model, write_huggingface

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import read_checkpoint
from lucid_mlx.weights.quantize import dequantized_arrays, quantize, quantize_layers

WIDE = {
    "backbone_config": {
        "model_type": "swin", "embed_dim": 32, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 4,
    },
    "dim_feedforward": 64,
}  # fmt: skip


def logits(model):
    return np.array(model(mx.ones((1, 3, 40, 40)))["class_queries_logits"])


@pytest.fixture
def folders(tmp_path):
    source = write_huggingface(tmp_path / "theirs")
    return convert(source, tmp_path / "plain"), convert(source, tmp_path / "quantized", quantize_bits=8, group_size=32)


def test_the_configuration_names_exactly_the_quantized_layers(folders):
    checkpoint = read_checkpoint(folders[1])
    quantization = checkpoint.config["quantization"]
    assert (quantization["bits"], quantization["group_size"]) == (8, 32)
    quantized = {name.removesuffix(".scales") for name in checkpoint.arrays if name.endswith(".scales")}
    assert quantized == set(quantization["layers"])
    assert quantized
    assert all(".blocks." in name or name.startswith("transformer_decoder.layers.") for name in quantized)
    assert not any(".downsample." in name or "head" in name or name.startswith("pixel_decoder") for name in quantized)


@pytest.mark.cpu("packed weights are unpacked there alone")
def test_quantized_weights_load_as_nearly_the_same_floats(folders):
    plain, quantized = (lucid_mlx.load(folder) for folder in folders)
    assert named_parameters(plain).keys() == named_parameters(quantized).keys()  # on the CPU they are dequantized
    for name, array in named_parameters(plain).items():
        other = named_parameters(quantized)[name]
        assert mx.abs(array - other).max().item() <= mx.abs(array).max().item() / 100, name
    assert plain.config.id2label == quantized.config.id2label


def test_from_pretrained_dequantizes(folders):
    model = lucid_mlx.load(folders[0])
    model.from_pretrained(folders[1])
    expected = dequantized_arrays(read_checkpoint(folders[1]))
    for name, array in named_parameters(model).items():
        assert mx.array_equal(array, expected[name])


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_layers_compute_what_their_dequantized_weights_do(bits):
    """A GPU runs quantized layers."""
    model = small_model(**WIDE)
    quantization = quantize(model, bits, 32)
    quantized = named_parameters(model)
    dequantized = dequantized_arrays(lucid_mlx.weights.Checkpoint({"quantization": quantization}, quantized, {}, {}))
    plain = small_model(**WIDE)
    plain.load_weights(list(dequantized.items()))
    assert np.abs(logits(model) - logits(plain)).max() < 1e-4 * np.abs(logits(plain)).max()


def test_a_file_in_8_bits_is_smaller(folders):
    plain, quantized = (folder / "model.safetensors" for folder in folders)
    assert quantized.stat().st_size < plain.stat().st_size


@pytest.mark.parametrize(("bits", "group_size"), [(3, 64), (8, 48), (16, 64)])
def test_other_bits_are_refused(bits, group_size):
    with pytest.raises(InputError, match=r"bits must be one of \(4, 8\) and the group size one of"):
        quantize(small_model(), bits, group_size)


@pytest.mark.parametrize(
    ("quantization", "message"),
    [
        ({"bits": 8, "group_size": 32}, "does not fit"),
        ({"bits": "x", "group_size": 32, "layers": []}, "does not fit"),
        ({"bits": 8, "group_size": 32, "layers": ["nowhere"]}, "does not fit"),
        ({"bits": 4, "group_size": 32}, "does not fit"),
        (7, "does not fit"),
    ],
)
@pytest.mark.cpu("packed weights are unpacked there alone")
def test_a_damaged_quantization_is_reported(quantization, message, folders):
    config = json.loads((folders[1] / "config.json").read_text())
    config["quantization"] = quantization
    (folders[1] / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        lucid_mlx.load(folders[1])
    with pytest.raises(InputError, match="damaged|does not have"):
        quantize_layers(small_model(), quantization)


def test_quantized_weights_are_not_exported(folders, tmp_path):
    from lucid_mlx.convert.export import export_huggingface

    with pytest.raises(InputError, match="is quantized, which transformers cannot read"):
        export_huggingface(folders[1], tmp_path / "exported")

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
from lucid_mlx.weights.quantize import apply_record, floating_arrays, quantize

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
    return convert(source, tmp_path / "plain"), convert(source, tmp_path / "packed", quantize_bits=8, group_size=32)


def test_the_record_names_exactly_the_packed_layers(folders):
    checkpoint = read_checkpoint(folders[1])
    record = checkpoint.config["quantization"]
    assert (record["bits"], record["group_size"]) == (8, 32)
    packed = {name.removesuffix(".scales") for name in checkpoint.arrays if name.endswith(".scales")}
    assert packed == set(record["layers"])
    assert packed
    assert all(".blocks." in name or name.startswith("transformer_decoder.layers.") for name in packed)
    assert not any(".downsample." in name or "head" in name or name.startswith("pixel_decoder") for name in packed)


def test_packed_weights_load_as_nearly_the_same_floats(folders):
    plain, packed = (lucid_mlx.load(folder) for folder in folders)
    assert named_parameters(plain).keys() == named_parameters(packed).keys()  # on the CPU they are unpacked
    for name, array in named_parameters(plain).items():
        other = named_parameters(packed)[name]
        assert mx.abs(array - other).max().item() <= mx.abs(array).max().item() / 100, name
    assert plain.config.id2label == packed.config.id2label


def test_a_built_model_is_filled_from_packed_weights(folders):
    model = lucid_mlx.load(folders[0])
    model.from_pretrained(folders[1])
    expected = floating_arrays(read_checkpoint(folders[1]))
    for name, array in named_parameters(model).items():
        assert mx.array_equal(array, expected[name])


@pytest.mark.parametrize("bits", [4, 8])
def test_packed_layers_compute_what_their_unpacked_weights_do(bits):
    """What a GPU runs on."""
    model = small_model(**WIDE)
    record = quantize(model, bits, 32)
    packed = named_parameters(model)
    unpacked = floating_arrays(lucid_mlx.weights.Checkpoint({"quantization": record}, packed, {}, {}))
    plain = small_model(**WIDE)
    plain.load_weights(list(unpacked.items()))
    assert np.abs(logits(model) - logits(plain)).max() < 1e-4 * np.abs(logits(plain)).max()


def test_a_file_in_8_bits_is_smaller(folders):
    plain, packed = (folder / "model.safetensors" for folder in folders)
    assert packed.stat().st_size < plain.stat().st_size


@pytest.mark.parametrize(("bits", "group_size"), [(3, 64), (8, 48), (16, 64)])
def test_other_bits_are_refused(bits, group_size):
    with pytest.raises(InputError, match=r"bits must be one of \(4, 8\) and the group size one of"):
        quantize(small_model(), bits, group_size)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"bits": 8, "group_size": 32}, "does not fit"),
        ({"bits": "x", "group_size": 32, "layers": []}, "does not fit"),
        ({"bits": 8, "group_size": 32, "layers": ["nowhere"]}, "does not fit"),
        ({"bits": 4, "group_size": 32}, "does not fit"),
        (7, "does not fit"),
    ],
)
def test_a_damaged_record_is_told(record, message, folders):
    config = json.loads((folders[1] / "config.json").read_text())
    config["quantization"] = record
    (folders[1] / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        lucid_mlx.load(folders[1])
    with pytest.raises(InputError, match="damaged|has not"):
        apply_record(small_model(), record)


def test_packed_weights_are_not_exported(folders, tmp_path):
    from lucid_mlx.convert.export import export_huggingface

    with pytest.raises(InputError, match="is quantized, which transformers cannot read"):
        export_huggingface(folders[1], tmp_path / "exported")

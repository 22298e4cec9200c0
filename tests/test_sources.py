"""Opening checkpoints of other systems: real keys, damaged files, and pickles that try to run code."""

import io
import json
import pickle
import struct
import zipfile

import mlx.core as mx
import numpy as np
import pytest
from helpers import huggingface_arrays, key_list, write_huggingface
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from safetensors.numpy import save_file

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.convert.families import detect_family
from lucid_mlx.convert.infer import infer_config
from lucid_mlx.convert.lucid import reorder_relative_position_bias
from lucid_mlx.convert.rules import rename, to_mlx_layout
from lucid_mlx.convert.source import read_source
from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.backbones.swin import relative_position_index
from lucid_mlx.utils.parameters import named_parameters

REAL = {
    "d2_r101_syncbn": ("detectron2", 63_033_495),
    "d2_r101c_deepstem": ("detectron2", 63_157_271),
    "d2_r50": ("detectron2", 44_036_998),
    "d2_swin_large_200q": ("detectron2", 215_535_610),
    "d2_swin_tiny": ("detectron2", 47_435_264),
    "hf_hub_swin_tiny": ("huggingface", 47_439_633),
    "hf_memory_swin_tiny": ("huggingface", 47_439_633),
    "hf_resnet_50": ("huggingface", 44_041_367),
    "hf_saved_swin_tiny": ("huggingface", 47_439_633),
    "hf_timm_resnet_50": ("huggingface", 44_041_367),
    "lucid2_resnet_18": ("huggingface", 30_972_567),  # the same keys
    "lucid2_resnet_50": ("huggingface", 44_041_367),
    "lucid2_swin_tiny": ("lucid2", 47_439_633),
    "lucid3_swin_tiny": ("lucid3", 47_439_633),
    "mmdet2_r50_panoptic": ("openmmlab", 44_036_998),
    "mmdet_r50_panoptic": ("openmmlab", 44_036_998),
    "mmdet_swin_t_panoptic": ("openmmlab", 47_435_264),
    "mmseg_r50_semantic": ("openmmlab", 44_041_367),
}


@pytest.mark.parametrize("name", REAL)
def test_every_key_of_every_real_checkpoint_has_a_rule_and_the_network_is_inferred(name):
    family, parameters = REAL[name]
    arrays = {key: mx.zeros(shape) for key, shape in key_list(name).items()}
    assert detect_family(arrays).name == family
    renamed, problems = rename(detect_family(arrays).rules, arrays)
    assert problems == []
    config = infer_config({key: tuple(array.shape) for key, array in renamed.items()})
    model = Mask2Former(config)
    assert model.parameter_size == parameters
    wanted = {key: tuple(array.shape) for key, array in named_parameters(model).items()}
    assert set(to_mlx_layout(renamed, wanted)) == set(wanted)
    assert config.num_queries == (200 if "200q" in name else 100)


class Call:
    """An object that pickle stores as a call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def torch_zip(path, pickled, entries=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in entries:
            archive.writestr(f"archive/data/{name}", data)
    return path


@pytest.mark.parametrize("wrap", [lambda path, data: path.write_bytes(data), torch_zip], ids=["plain", "zip"])
@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.getattr", "subprocess.Popen"])
def test_a_pickle_that_calls_a_function_is_refused_by_name_before_it_runs(tmp_path, wrap, name):
    module, function = name.split(".")
    witness = tmp_path / "witness"
    malicious = Call(getattr(__import__(module), function), f"touch {witness}")
    wrap(tmp_path / "malicious.pth", pickle.dumps({"model": {"weight": malicious}}))
    with pytest.raises(InputError, match="which no state dict needs; it was refused") as error:
        read_source(tmp_path / "malicious.pth")
    assert function in str(error.value)
    assert not witness.exists()


def test_a_compressed_archive_is_refused_before_it_is_read(tmp_path):
    path = torch_zip(tmp_path / "bomb.pt", b"", [("0", bytes(50_000_000))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="compressed or cut off"):
        read_source(path)


def test_a_zip_of_something_else_is_reported(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"not written by torch, of readme\.txt: unpack it"):
        read_source(tmp_path / "x.pt")


def test_a_compressed_file_and_one_that_is_cut_off_say_what_to_do(tmp_path):
    for start, message in (
        (b"\x1f\x8b\x08", "compressed by gzip: unpack it"),
        (b"PK\x03\x04abc", "damaged or incomplete"),
    ):
        (tmp_path / "x.pth").write_bytes(start + bytes(100))
        with pytest.raises(InputError, match=message):
            read_source(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1, 2], "holds a list"),
        (np.ones(3, np.float32), "holds a single tensor"),
        ({"model": {}}, "not hold a dictionary of named tensors"),
        ({"a": 1}, "not hold a dictionary of named"),
        ({"a": np.array([{}, []], dtype=object)}, "not hold a dictionary of named"),
        ({1: np.ones(2)}, "not hold a dictionary of named"),
    ],
)
def test_a_pickle_without_tensors_is_reported(tmp_path, tree, message):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(tree))
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "x.pkl")


def torch_tensor(storage, offset, size, stride):
    """The pickle that torch writes for a dictionary with one tensor."""
    out = io.BytesIO()
    out.write(b"\x80\x02}\x8c\x06weightctorch._utils\n_rebuild_tensor_v2\n(")
    out.write(b"(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpu")
    out.write(b"J" + struct.pack("<i", storage) + b"tQ")
    out.write(b"J" + struct.pack("<i", offset))
    for values in (size, stride):
        out.write(b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t")
    out.write(b"\x89NtRs.")
    return out.getvalue()


def test_a_tensor_of_a_zip_file_is_read_with_its_strides(tmp_path):
    numbers = np.arange(12, dtype=np.float32)
    path = torch_zip(tmp_path / "x.pt", torch_tensor(12, 2, (3, 2), (1, 3)), [("0", numbers.tobytes())])
    assert np.array(read_source(path).arrays["weight"]).tolist() == [[2, 5], [3, 6], [4, 7]]


@pytest.mark.parametrize(
    ("tensor", "data", "message"),
    [
        (torch_tensor(4, 0, (5,), (1,)), 4, "reaches beyond its storage"),
        (torch_tensor(4, 1, (4,), (1,)), 4, "reaches beyond its storage"),
        (torch_tensor(4, 0, (2, 3), (3, 1)), 4, "reaches beyond its storage"),
        (torch_tensor(4, -1, (2,), (1,)), 4, "reaches beyond its storage"),
        (torch_tensor(4, 0, (4,), (-1,)), 4, "reaches beyond its storage"),
        (torch_tensor(10**6, 0, (10**6,), (1,)), 4, "ends too early"),
    ],
)
def test_tensors_that_reach_outside_are_reported(tmp_path, tensor, data, message):
    path = torch_zip(tmp_path / "x.pt", tensor, [("0", bytes(4 * data))])
    with pytest.raises(InputError, match=message):
        read_source(path).arrays["weight"]


def test_a_missing_storage_is_reported(tmp_path):
    with pytest.raises(InputError, match="lacks the data of weight"):
        read_source(torch_zip(tmp_path / "x.pt", torch_tensor(4, 0, (4,), (1,)))).arrays["weight"]


@pytest.mark.parametrize("header", [2**60, 2**63, 10**6])
def test_an_invalid_safetensors_header_is_reported(tmp_path, header):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", header) + b"{}")
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_source(tmp_path / "x.safetensors")


def test_overlapping_safetensors_are_reported(tmp_path):
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_source(tmp_path / "x.safetensors")


class TestShards:
    @pytest.fixture
    def folder(self, tmp_path):
        arrays = huggingface_arrays()
        folder = write_huggingface(tmp_path / "theirs", arrays)
        (folder / "model.safetensors").unlink()
        keys = list(arrays)
        weight_map = {key: f"shard-{1 + (i % 2)}.safetensors" for i, key in enumerate(keys)}
        for shard in sorted(set(weight_map.values())):
            save_file({key: arrays[key] for key in keys if weight_map[key] == shard}, folder / shard)
        self.write(folder, weight_map)
        return folder

    def write(self, folder, weight_map):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    def weight_map(self, folder):
        return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]

    def test_shards_convert_like_a_single_file(self, folder, tmp_path):
        ours = lucid_mlx.load(convert(folder, tmp_path / "a"))
        whole = lucid_mlx.load(convert(write_huggingface(tmp_path / "whole"), tmp_path / "b"))
        pairs = zip(tree_flatten(ours.parameters()), tree_flatten(whole.parameters()), strict=True)
        assert all(mx.array_equal(a[1], b[1]) for a, b in pairs)

    @pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "sub/shard.safetensors"])
    def test_an_index_cannot_lead_outside_its_folder(self, folder, name):
        self.write(folder, {**self.weight_map(folder), "class_predictor.bias": name})
        with pytest.raises(InputError, match="which is not in the same folder"):
            read_source(folder)

    def test_missing_shards_and_keys_are_reported(self, folder):
        weight_map = self.weight_map(folder)
        self.write(folder, {**weight_map, "x": "shard-1.safetensors"})
        with pytest.raises(InputError, match="lists x in shard-1.safetensors, which does not have it"):
            read_source(folder)
        self.write(folder, weight_map)
        (folder / "shard-2.safetensors").unlink()
        with pytest.raises(InputError, match="shard-2.safetensors, which is missing"):
            read_source(folder)
        self.write(folder, {})
        with pytest.raises(InputError, match="no weight_map"):
            read_source(folder)


def test_paths_without_a_checkpoint_are_reported(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_source(tmp_path / "x")
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(InputError, match="is not a checkpoint file"):
        read_source(tmp_path / "x.txt")
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_text("hello")
    with pytest.raises(InputError, match=r"found a.pth, b.pth"):
        read_source(tmp_path)


def test_another_model_is_reported(tmp_path):
    save_file({f"bert.layer.{i}.weight": np.zeros(2, np.float32) for i in range(9)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="of no known family"):
        convert(tmp_path / "x.safetensors", tmp_path / "ours")
    with pytest.raises(InputError, match="there is no family 'keras'"):
        convert(tmp_path / "x.safetensors", tmp_path / "ours", family="keras")
    with pytest.raises(InputError, match="9 unknown keys"):
        convert(tmp_path / "x.safetensors", tmp_path / "ours", family="detectron2")


def test_the_network_of_a_file_alone_is_inferred_without_labels(tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file(huggingface_arrays(), path)
    model = lucid_mlx.load(convert(path, tmp_path / "ours"))
    assert (model.config.num_labels, model.config.num_queries) == (3, 6)
    assert model.config.backbone_config["window_size"] == 3
    assert model.config.id2label[0] == "LABEL_0"


def test_a_dtype_can_be_chosen(tmp_path):
    folder = convert(write_huggingface(tmp_path / "theirs"), tmp_path / "ours", dtype=mx.float16)
    assert lucid_mlx.load(folder).dtype == mx.float16


VALID = {
    "x.pt": lambda path: torch_zip(path, torch_tensor(4, 0, (2, 2), (2, 1)), [("0", bytes(16))]),
    "x.pkl": lambda path: path.write_bytes(pickle.dumps({"model": {"w": np.ones((2, 3), np.float32)}})),
    "x.safetensors": lambda path: save_file({"w": np.ones((2, 3), np.float32)}, path),
}


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_raise_an_input_error(name, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / name
    VALID[name](path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        source = read_source(path)
        assert all(isinstance(source.arrays[key], mx.array) for key in source.arrays)
    except InputError:
        pass


@pytest.mark.parametrize("index", [np.zeros(15), np.full(16, 99.0), np.full(16, -1.0), np.zeros(81)])
def test_a_stored_index_that_does_not_fit_its_table_is_reported(index):
    block = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attn."
    arrays = {
        block + "relative_position_bias_table": mx.zeros((9, 2)),
        block + "relative_pos_index": mx.array(index.astype(np.float32)),
    }
    with pytest.raises(InputError, match="does not fit"):
        reorder_relative_position_bias(arrays)


def test_only_a_table_with_another_index_is_reordered():
    block = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attn."
    table = mx.arange(9.0)[:, None]
    standard = np.array(relative_position_index(2))
    transposed = standard % 3 * 3 + standard // 3
    for index, wanted in ((standard, list(range(9))), (transposed, [0, 3, 6, 1, 4, 7, 2, 5, 8])):
        arrays = {block + "relative_position_bias_table": table, block + "relative_pos_index": mx.array(index)}
        reordered = reorder_relative_position_bias(arrays)[block + "relative_position_bias_table"]
        assert reordered[:, 0].tolist() == wanted

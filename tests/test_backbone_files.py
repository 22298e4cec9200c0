import pickle
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from helpers import RESNET, SIZES, SWIN, huggingface_arrays
from safetensors.numpy import save_file

from lucid_mlx import InputError
from lucid_mlx.convert.backbone import BACKBONE_FAMILIES, read_backbone
from lucid_mlx.convert.families import detect_family
from lucid_mlx.models import mask2former_swin_tiny
from lucid_mlx.models.vision.backbones import build_backbone
from lucid_mlx.utils.parameters import named_parameters

BASIC = {**RESNET, "depths": [1, 2, 1, 1]}
BOTTLENECK = {**RESNET, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 2, 1, 1]}

# Each family's keys, made from our names by substitutions that were written independently of the converter's rules.
SWIN_NAMES = [
    ("patch_embedding.projection", "patch_embed.proj"),
    ("patch_embedding.norm", "patch_embed.norm"),
    ("stages.", "layers."),
    ("attention.projection", "attn.proj"),
    ("attention.", "attn."),
    ("linear1", "mlp.fc1"),
    ("linear2", "mlp.fc2"),
]
TIMM_SWIN_NAMES = [*SWIN_NAMES, *((f"layers.{i}.downsample", f"layers.{i + 1}.downsample") for i in (2, 1, 0))]
TORCHVISION_SWIN_NAMES = [
    ("patch_embedding.projection", "features.0.0"),
    ("patch_embedding.norm", "features.0.2"),
    *((f"stages.{i}.blocks.", f"features.{2 * i + 1}.") for i in range(4)),
    *((f"stages.{i}.downsample.", f"features.{2 * i + 2}.") for i in range(3)),
    ("attention.projection", "attn.proj"),
    ("attention.", "attn."),
    ("linear1", "mlp.0"),
    ("linear2", "mlp.3"),
]
HUGGINGFACE_SWIN_NAMES = [
    ("patch_embedding.", "swin.embeddings.patch_embeddings."),
    ("patch_embeddings.norm", "norm"),
    ("stages.", "swin.encoder.layers."),
    ("attention.projection", "attention.output.dense"),
    ("attention.relative", "attention.self.relative"),
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("linear1", "intermediate.dense"),
    ("linear2", "output.dense"),
]
IN_MEMORY_SWIN_SUBSTITUTIONS = [
    *HUGGINGFACE_SWIN_NAMES,
    ("attention.output.dense", "attention.o_proj"),
    ("attention.self.relative", "attention.relative_position_bias.relative"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
]
TORCHVISION_NAMES = [
    ("stem.0.conv", "conv1"),
    ("stem.0.norm", "bn1"),
    *((f"stages.{i}.", f"layer{i + 1}.") for i in range(4)),
    ("shortcut.conv", "downsample.0"),
    ("shortcut.norm", "downsample.1"),
    *((f"convs.{i}.conv", f"conv{i + 1}") for i in range(3)),
    *((f"convs.{i}.norm", f"bn{i + 1}") for i in range(3)),
]
LUCID_BASIC_NAMES = [("stem.0.conv", "stem.0"), ("stem.0.norm", "stem.1"), *TORCHVISION_NAMES]
LUCID_BOTTLENECK_NAMES = [
    ("convs.2.conv", "conv3.0"),
    ("convs.2.norm", "conv3.1"),
    *((f"convs.{i}.conv", f"conv{i + 1}.conv") for i in range(2)),
    *((f"convs.{i}.norm", f"conv{i + 1}.bn") for i in range(2)),
    *LUCID_BASIC_NAMES,
]
DETECTRON2_NAMES = [
    ("stem.0.conv", "stem.conv1"),
    ("stem.1.conv", "stem.conv2"),
    ("stem.2.conv", "stem.conv3"),
    *((f"stem.{i}.norm", f"stem.conv{i + 1}.norm") for i in range(3)),
    *((f"stages.{i}.", f"res{i + 2}.") for i in range(4)),
    ("shortcut.conv", "shortcut"),
    ("shortcut.norm", "shortcut.norm"),
    *((f"convs.{i}.conv", f"conv{i + 1}") for i in range(3)),
    *((f"convs.{i}.norm", f"conv{i + 1}.norm") for i in range(3)),
]
HUGGINGFACE_RESNET_NAMES = [
    ("stem.0.", "resnet.embedder.embedder."),
    *((f"stages.{i}.", f"resnet.encoder.stages.{i}.layers.") for i in range(4)),
    ("convs.", "layer."),
    (".conv.", ".convolution."),
    (".norm.", ".normalization."),
]


def substituted(substitutions, name):
    for ours, theirs in substitutions:
        name = name.replace(ours, theirs)
    return name


def split_qkv(name, words, substitutions):
    """A family's keys for a parameter of ours: three for query, key and value, otherwise one."""
    if ".qkv." not in name:
        return [substituted(substitutions, name)]
    return [substituted(substitutions, name.replace("qkv", word)) for word in words]


SAVED_SWIN_NAMES = partial(
    split_qkv, words=("self.query", "self.key", "self.value"), substitutions=HUGGINGFACE_SWIN_NAMES
)
IN_MEMORY_SWIN_NAMES = partial(
    split_qkv, words=("q_proj", "k_proj", "v_proj"), substitutions=IN_MEMORY_SWIN_SUBSTITUTIONS
)


def head(*keys):
    return {key: np.ones((7, 3), np.float32) for key in keys}


def counters(arrays):
    return {key.replace("running_var", "num_batches_tracked"): np.array(3) for key in arrays if "running_var" in key}


def indices(arrays, name):
    return {
        key.replace("relative_position_bias_table", name): np.zeros((16, 16), np.int64)
        for key in arrays
        if key.endswith("relative_position_bias_table")
    }


def without(prefix, names):
    """The keys of a model that a classifier has under a prefix."""
    return lambda name: [
        key.removeprefix(prefix) for key in (names(name) if callable(names) else [substituted(names, name)])
    ]


SWIN_HEAD = head("norm.weight", "norm.bias", "head.weight", "head.bias")
MASK = {"layers.2.blocks.1.attn_mask": np.zeros((4, 16, 16), np.float32)}

# The configuration, the keys, and what else is in the file.
CASES = {
    "torchvision, basic": (
        BASIC,
        TORCHVISION_NAMES,
        lambda arrays: counters(arrays) | head("fc.weight", "fc.bias"),
    ),
    "torchvision, bottleneck": (
        BOTTLENECK,
        TORCHVISION_NAMES,
        lambda arrays: counters(arrays) | head("fc.weight", "fc.bias"),
    ),
    "lucid 2, basic": (BASIC, LUCID_BASIC_NAMES, lambda arrays: head("fc.weight", "fc.bias")),
    "lucid 2, bottleneck": (BOTTLENECK, LUCID_BOTTLENECK_NAMES, lambda arrays: head("fc.weight", "fc.bias")),
    "hugging face, basic": (
        BASIC,
        HUGGINGFACE_RESNET_NAMES,
        lambda arrays: counters(arrays) | head("classifier.1.weight", "classifier.1.bias"),
    ),
    "hugging face, bottleneck": (
        BOTTLENECK,
        HUGGINGFACE_RESNET_NAMES,
        lambda arrays: counters(arrays) | head("classifier.1.weight", "classifier.1.bias"),
    ),
    "hugging face's resnet without a head": (BASIC, without("resnet.", HUGGINGFACE_RESNET_NAMES), counters),
    "detectron2, basic": (BASIC, DETECTRON2_NAMES, lambda arrays: head("stem.fc.weight", "stem.fc.bias")),
    "detectron2, bottleneck": (BOTTLENECK, DETECTRON2_NAMES, lambda arrays: {}),
    "detectron2, deep": ({**BOTTLENECK, "stem": "deep"}, DETECTRON2_NAMES, counters),
    "original swin": (
        SWIN,
        SWIN_NAMES,
        lambda arrays: indices(arrays, "relative_position_index") | MASK | SWIN_HEAD,
    ),
    "original swin without a head": (SWIN, SWIN_NAMES, lambda arrays: {}),
    "torchvision's swin": (
        SWIN,
        TORCHVISION_SWIN_NAMES,
        lambda arrays: indices(arrays, "relative_position_index") | SWIN_HEAD,
    ),
    "timm's swin": (
        SWIN,
        TIMM_SWIN_NAMES,
        lambda arrays: MASK | head("norm.weight", "norm.bias", "head.fc.weight", "head.fc.bias"),
    ),
    "timm's swin without a head": (SWIN, TIMM_SWIN_NAMES, lambda arrays: {}),
    "hugging face's swin, saved": (
        SWIN,
        SAVED_SWIN_NAMES,
        lambda arrays: (
            indices(arrays, "relative_position_index")
            | head("swin.layernorm.weight", "swin.layernorm.bias", "classifier.weight", "classifier.bias")
        ),
    ),
    "hugging face's swin without a head": (
        SWIN,
        without("swin.", SAVED_SWIN_NAMES),
        lambda arrays: indices(arrays, "relative_position_index") | head("layernorm.weight", "layernorm.bias"),
    ),
    "hugging face's swin without a head, in memory": (
        SWIN,
        without("swin.", IN_MEMORY_SWIN_NAMES),
        lambda arrays: head("layernorm.weight", "layernorm.bias"),
    ),
    "hugging face's swin, in memory": (
        SWIN,
        IN_MEMORY_SWIN_NAMES,
        lambda arrays: head("swin.layernorm.weight", "swin.layernorm.bias", "classifier.weight", "classifier.bias"),
    ),
}


def classifier(name):
    """The random arrays of a classifier under a family's keys, and under our parameter names."""
    config, names, others = CASES[name]
    rng = np.random.default_rng(0)
    arrays, wanted = {}, {}
    for ours, parameter in named_parameters(build_backbone(config)).items():
        if ours.startswith("norms."):
            continue
        value = rng.standard_normal(parameter.shape).astype(np.float32)
        wanted[f"backbone.{ours}"] = value
        theirs = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
        keys = names(ours) if callable(names) else [substituted(names, ours)]
        arrays.update(zip(keys, np.split(theirs, len(keys)), strict=True))
    return arrays | others(arrays), wanted


def written(arrays, path):
    save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, path)
    return path


def assert_same(got, wanted):
    assert sorted(got) == sorted(wanted)
    for name, array in wanted.items():
        assert np.array_equal(np.array(got[name]), array), name


@pytest.mark.parametrize("name", CASES)
def test_every_array_of_each_family_becomes_its_parameter(name, tmp_path):
    arrays, wanted = classifier(name)
    assert_same(read_backbone(written(arrays, tmp_path / "x.safetensors"), CASES[name][0]).arrays, wanted)


def test_every_family_has_a_case_and_every_rule_has_a_reason():
    assert {detect_family(classifier(name)[0], BACKBONE_FAMILIES).name for name in CASES} == set(BACKBONE_FAMILIES)
    assert all(rule.reason for family in BACKBONE_FAMILIES.values() for rule in family.rules)


@pytest.mark.parametrize("by_column", [False, True])
def test_bias_tables_of_lucid_2_are_reordered_by_their_index(by_column, tmp_path):
    arrays, wanted = classifier("original swin without a head")
    size, side = SWIN["window_size"], 2 * SWIN["window_size"] - 1
    rows, columns = np.divmod(np.arange(size * size), size)
    down, right = (positions[:, None] - positions[None] + size - 1 for positions in (rows, columns))
    for key in [key for key in arrays if key.endswith("relative_position_bias_table")]:
        if by_column:  # the row for (down, right) is at (right, down)
            arrays[key] = arrays[key].reshape(side, side, -1).swapaxes(0, 1).reshape(arrays[key].shape)
        index = right * side + down if by_column else down * side + right
        arrays[key.replace("relative_position_bias_table", "relative_pos_index")] = index.astype(np.float64)
    arrays |= MASK | SWIN_HEAD
    assert_same(read_backbone(written(arrays, tmp_path / "x.safetensors"), SWIN).arrays, wanted)


def test_a_pickle_that_nests_its_arrays_and_half_precision_are_read(tmp_path):
    arrays, wanted = classifier("original swin")
    half = {key: array.astype(np.float16) if array.dtype == np.float32 else array for key, array in arrays.items()}
    (tmp_path / "swin.pkl").write_bytes(pickle.dumps({"model": half}))
    got = read_backbone(tmp_path / "swin.pkl", SWIN).arrays
    assert {array.dtype for array in got.values()} == {mx.float32}
    assert_same(got, {name: array.astype(np.float16).astype(np.float32) for name, array in wanted.items()})


def test_all_problems_are_in_one_error(tmp_path):
    arrays, _ = classifier("original swin")
    del arrays["layers.2.blocks.1.mlp.fc1.bias"]
    arrays["layers.0.surprise"] = np.zeros(3, np.float32)
    arrays["patch_embed.norm.bias"] = np.zeros(8, np.int32)
    with pytest.raises(InputError) as error:
        read_backbone(written(arrays, tmp_path / "x.safetensors"), {**SWIN, "window_size": 7})
    message = str(error.value)
    assert "1 unknown keys: layers.0.surprise" in message
    assert "1 missing: backbone.stages.2.blocks.1.linear1.bias" in message
    assert "5 of another shape" in message
    table = "backbone.stages.0.blocks.0.attention.relative_position_bias_table"
    assert f"{table} is [49, 1], expected [169, 1]" in message
    assert "not of a floating-point type: backbone.patch_embedding.norm.bias" in message


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("original swin", {**SWIN, "embed_dim": 16}, r"projection.weight is \[8, 4, 4, 3\], expected \[16, 4, 4, 3\]"),
        ("original swin", {**SWIN, "depths": [1, 1, 2, 2]}, r"missing: backbone.stages.3.blocks.1.norm1"),
        ("original swin", {**SWIN, "depths": [1, 1, 1, 1]}, r"unexpected: backbone.stages.2.blocks.1.attention"),
        ("torchvision, basic", BOTTLENECK, r"missing: .*stages.0.0.convs.2.conv.weight"),
        ("torchvision, basic", {**BASIC, "stem": "deep"}, r"missing: backbone.stem.1.conv.weight"),
        ("torchvision, basic", SWIN, r"holds torchvision's or timm's ResNet, but backbone_config describes a 'swin'"),
        ("timm's swin", BASIC, r"holds timm's Swin, but backbone_config describes a 'resnet'"),
        ("original swin", {"model_type": "vit"}, r"backbone_config\['model_type'\] is one of"),
    ],
)
def test_a_backbone_of_another_shape_or_type_is_reported(name, config, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_backbone(written(classifier(name)[0], tmp_path / "x.safetensors"), config)


def test_files_without_a_classifier_are_reported(tmp_path):
    with pytest.raises(InputError, match="no known family .*lucid 2's ResNet.*: model"):
        read_backbone(written(huggingface_arrays(), tmp_path / "x.safetensors"), SWIN)
    with pytest.raises(InputError, match="does not exist"):
        read_backbone(tmp_path / "nothing.pth", SWIN)


def build(**kwargs):
    mx.random.seed(3)
    sizes = {name: value for name, value in SIZES.items() if name != "num_labels"}
    return mask2former_swin_tiny(5, backbone_config=SWIN, **sizes, **kwargs)


@pytest.mark.parametrize("path_type", [str, Path])
def test_a_builder_loads_the_backbone_and_nothing_else(path_type, tmp_path):
    arrays, wanted = classifier("timm's swin")
    path = written(arrays, tmp_path / "swin.safetensors")
    plain, filled = named_parameters(build()), named_parameters(build(pretrained_backbone=path_type(path)))
    assert_same(filled, {name: np.array(array) for name, array in plain.items()} | wanted)
    assert np.array_equal(np.array(filled["backbone.norms.2.weight"]), np.ones(32))


def test_a_builder_reports_a_backbone_that_it_cannot_load(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        build(pretrained_backbone=tmp_path / "nothing.pth")
    for value in (1, None):
        with pytest.raises(InputError, match="weights must be a path, a name, an address or a registry member"):
            build(pretrained_backbone=value)

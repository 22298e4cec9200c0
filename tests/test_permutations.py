"""Orders within arrays that no check of shapes can catch, against plain definitions in NumPy."""

import mlx.core as mx
import numpy as np
import pytest
from helpers import huggingface_arrays, small_config, small_model
from torch_writer import save_legacy, save_zip

import lucid_mlx
from lucid_mlx.convert import backbone, detectron2, openmmlab
from lucid_mlx.convert.export import state_dict
from lucid_mlx.convert.rules import invert, rename, to_torch_layout
from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.backbones.swin import relative_position_index
from lucid_mlx.utils.parameters import named_parameters

RNG = np.random.default_rng(0)


def normed(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def neighbors(x, order):
    """The four neighbors of each 2x2 block of (H, W, C), in an order of (row, column)."""
    return np.stack([x[row::2, column::2] for row, column in order], -2)


def test_openmmlab_s_patch_merging_is_torch_s_unfold():
    channels = 3
    x = RNG.standard_normal((4, 6, channels))
    weight, bias = RNG.standard_normal((2, 4 * channels))
    reduction = RNG.standard_normal((2 * channels, 4 * channels))
    # Theirs: unfold gives (channel, row, column), so that the four neighbors of a channel lie side by side.
    unfolded = neighbors(x, [(0, 0), (0, 1), (1, 0), (1, 1)]).swapaxes(-1, -2).reshape(2, 3, -1)
    theirs = normed(unfolded, weight, bias) @ reduction.T
    root = "backbone.stages.0.downsample."
    arrays = {root + "norm.weight": weight, root + "norm.bias": bias, root + "reduction.weight": reduction}
    ours = openmmlab.reorder_patch_merging({key: mx.array(a.astype(np.float32)) for key, a in arrays.items()})
    weight, bias, reduction = (np.array(ours[key]) for key in arrays)
    # Ours, as the original and transformers: the channels of each neighbor, in the order of columns.
    merged = neighbors(x, [(0, 0), (1, 0), (0, 1), (1, 1)]).reshape(2, 3, -1)
    assert np.allclose(normed(merged, weight, bias) @ reduction.T, theirs, atol=1e-4)


def test_our_patch_merging_takes_its_neighbors_by_columns():
    merging = small_model().backbone.stages[0].downsample
    x = RNG.standard_normal((1, 4, 6, 8)).astype(np.float32)
    merged = neighbors(x[0], [(0, 0), (1, 0), (0, 1), (1, 1)]).reshape(2, 3, -1)
    wanted = (
        normed(merged, np.array(merging.norm.weight), np.array(merging.norm.bias))
        @ np.array(merging.reduction.weight).T
    )
    assert np.allclose(np.array(merging(mx.array(x)))[0], wanted, atol=1e-3)


@pytest.mark.parametrize("window", [2, 4, 7])
def test_the_relative_position_is_row_then_column(window):
    index = np.array(relative_position_index(window)).reshape(window, window, window, window)
    for here, there in (((0, 0), (1, 0)), ((1, 0), (0, 1)), ((window - 1, 0), (0, 0))):
        down, right = here[0] - there[0], here[1] - there[1]
        assert index[(*here, *there)] == (down + window - 1) * (2 * window - 1) + right + window - 1


def test_query_key_and_value_of_window_attention_are_stacked_in_this_order():
    for rules, key in (
        (detectron2.RULES, "backbone.layers.0.blocks.0.attn.qkv.weight"),
        (openmmlab.RULES, "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"),
        (backbone.TIMM_SWIN, "layers.0.blocks.0.attn.qkv.weight"),
    ):
        renamed, _ = rename(rules, {key: mx.arange(6.0)[:, None]})
        assert renamed["backbone.stages.0.blocks.0.attention.qkv.weight"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    names = {f"model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self.{x}.weight": mx.full((2, 1), n)
             for n, x in enumerate(("query", "key", "value"))}  # fmt: skip
    renamed, _ = rename(lucid_mlx.convert.huggingface.RULES, dict(reversed(names.items())))
    assert renamed["backbone.stages.0.blocks.0.attention.qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_query_key_and_value_of_the_decoder_are_split_in_this_order():
    for rules, key in (
        (detectron2.RULES, "sem_seg_head.predictor.transformer_self_attention_layers.0.self_attn.in_proj_bias"),
        (openmmlab.RULES, "panoptic_head.transformer_decoder.layers.0.self_attn.attn.in_proj_bias"),
        (openmmlab.RULES, "panoptic_head.transformer_decoder.layers.0.attentions.1.attn.in_proj_bias"),
    ):
        renamed, _ = rename(rules, {key: mx.arange(3.0)})
        ours = "transformer_decoder.layers.0.self_attention.{}_projection.bias"
        assert [renamed[ours.format(name)].item() for name in ("query", "key", "value")] == [0, 1, 2]


def openmmlab_file(model):
    """The arrays of a model under the keys of MMDetection 3, and in its order."""
    rules = [rule for rule in openmmlab.RULES if rule.source.startswith(("backbone.", "panoptic_head."))]
    rules = [rule for rule in rules if ".attentions." not in rule.source and ".ffns." not in rule.source]
    inverse = invert(rules)
    arrays, problems = rename(inverse, to_torch_layout(inverse, named_parameters(model)))
    assert not problems
    found = {key: np.array(array) for key, array in arrays.items()}
    for key, array in found.items():
        if ".downsample." in key:
            blocks = array.reshape(*array.shape[:-1], 4, -1)[..., [0, 2, 1, 3], :]
            found[key] = np.ascontiguousarray(blocks.swapaxes(-1, -2).reshape(array.shape))
    return found


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_openmmlab_s_file_gives_the_logits_of_the_network_that_it_was_made_of(tmp_path, save):
    model = small_model()
    path = save({"meta": {}, "state_dict": openmmlab_file(model)}, tmp_path / "x.pth")
    pixels = mx.random.normal((1, 3, 64, 96))
    wanted, got = model(pixels), lucid_mlx.load(path)(pixels)
    for name in ("class_queries_logits", "masks_queries_logits"):
        assert mx.allclose(got[name], wanted[name], atol=1e-4), name


def test_a_legacy_file_is_read_as_it_was_written(tmp_path):
    arrays = huggingface_arrays()
    read = lucid_mlx.convert.source.read_source(save_legacy({"state_dict": arrays}, tmp_path / "x.pth")).arrays
    assert all(np.array_equal(np.array(read[key]), array) for key, array in arrays.items())


def test_the_state_dict_of_an_export_gives_the_same_network(tmp_path):
    model = Mask2Former(small_config()).eval()
    keys = {key: np.array(array) for key, array in state_dict(model).items() if array.dtype == mx.float32}
    again = lucid_mlx.load(save_zip({"module": keys}, tmp_path / "x.pth"))
    pixels = mx.random.normal((1, 3, 64, 64))
    assert mx.allclose(again(pixels)["masks_queries_logits"], model(pixels)["masks_queries_logits"], atol=1e-5)

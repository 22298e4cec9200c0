import inspect
import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from helpers import RESNET, SWIN
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from lucid_mlx import InputError
from lucid_mlx.models import Mask2Former, Mask2FormerConfig
from lucid_mlx.models.vision.backbones import ResNetConfig, build_backbone
from lucid_mlx.models.vision.backbones.swin import relative_position_index, shift_mask
from lucid_mlx.ops import window_merge, window_partition

BACKBONES = {
    "swin": SWIN,
    "swin, patches of 2, no qkv bias": {**SWIN, "patch_size": 2, "qkv_bias": False},
    "basic resnet": RESNET,
    "bottleneck resnet": {**RESNET, "hidden_sizes": [16, 24, 32, 40]},
    "deep stem": {**RESNET, "stem": "deep"},
}


@pytest.mark.parametrize("name", BACKBONES)
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_maps_have_the_promised_shapes_for_any_image(name, height, width):
    raw = BACKBONES[name]
    backbone = build_backbone(raw)
    backbone.eval()
    maps = backbone(mx.zeros((2, height, width, 3)))
    stride = raw.get("patch_size", 4)
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    for x, channels in zip(maps, backbone.channels, strict=True):
        assert x.shape == (2, rows, columns, channels)
        rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)


def test_layer_type_follows_from_the_widths():
    assert not ResNetConfig(hidden_sizes=[64, 128, 256, 512]).bottleneck
    assert ResNetConfig(hidden_sizes=[256, 512, 1024, 2048]).bottleneck
    assert ResNetConfig(hidden_sizes=[64, 128, 256, 512], layer_type="bottleneck").bottleneck


def test_deep_stem_has_detectron2_s_shapes():
    backbone = build_backbone({"model_type": "resnet", "stem": "deep", "embedding_size": 128, "depths": [3, 4, 23, 3]})
    assert [conv.conv.weight.shape for conv in backbone.stem] == [
        (64, 3, 3, 3),
        (64, 3, 3, 64),
        (128, 3, 3, 64),
    ]
    assert backbone.stages[0][0].shortcut.conv.weight.shape == (256, 1, 1, 128)


def test_batch_norm_is_frozen_unless_asked_otherwise():
    frozen, free = build_backbone(RESNET), build_backbone({**RESNET, "freeze_batch_norm": False})
    x = mx.random.normal((2, 32, 32, 3))
    before = [np.array(y) for _, y in tree_flatten(frozen.parameters())]
    frozen.train()
    frozen.unfreeze()
    trained, frozen_inference = frozen(x)[-1], build_backbone(RESNET)
    mx.eval(trained)
    frozen_inference.update(frozen.parameters())
    frozen_inference.eval()
    assert mx.array_equal(trained, frozen_inference(x)[-1])
    assert all(np.array_equal(a, b) for a, (_, b) in zip(before, tree_flatten(frozen.parameters()), strict=True))
    assert not any("norm" in name for name, _ in tree_flatten(frozen.trainable_parameters()))

    free.train()
    mean = np.array(free.stem[0].norm.running_mean)
    mx.eval(free(x))
    assert not np.array_equal(mean, np.array(free.stem[0].norm.running_mean))
    names = [name for name, _ in tree_flatten(free.trainable_parameters())]
    assert any(name.endswith("norm.weight") for name in names)
    assert not any(name.endswith("running_mean") for name in names)


def test_relative_positions_count_rows_before_columns():
    index = np.array(relative_position_index(2)).reshape(4, 4)
    # Tokens (0,0), (0,1), (1,0), (1,1); a step of one row is three entries of the table, of one column one.
    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_shift_mask_separates_what_the_shift_brought_together():
    mask = np.array(shift_mask(4, 4, 4, 2))[0]
    tokens = [(row, column) for row in range(4) for column in range(4)]
    for i, a in enumerate(tokens):
        for j, b in enumerate(tokens):
            together = (a[0] < 2) == (b[0] < 2) and (a[1] < 2) == (b[1] < 2)
            assert mask[i, j] == (0.0 if together else -100.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_windows_are_padded_shifted_cut_and_put_together_again(batch, height, width, window, shifted):
    shift, maps = window // 2 * shifted, np.random.default_rng(0).standard_normal((batch, height, width, 3), np.float32)
    padded = np.pad(maps, [(0, 0), (0, -height % window), (0, -width % window), (0, 0)])
    shown = np.roll(padded, (-shift, -shift), (1, 2))
    corners = np.ndindex(shown.shape[1] // window, shown.shape[2] // window)
    cut = [shown[:, y * window :, x * window :][:, :window, :window] for y, x in corners]
    wanted = np.stack(cut, axis=1).reshape(-1, 3)

    windows = mx.array(wanted.reshape(batch, -1, window * window, 3))
    for cut, merge in (
        (window_partition, window_merge),
        (inspect.unwrap(window_partition), inspect.unwrap(window_merge)),
    ):
        there, back = mx.vjp(lambda x, cut=cut: cut(x, window, shift), [mx.array(maps)], [windows])
        assert mx.array_equal(there[0], windows).item()
        assert np.array_equal(back[0], maps)
        together, back = mx.vjp(
            lambda x, merge=merge: merge(x, (height, width), window, shift), [windows], [mx.array(maps)]
        )
        assert np.array_equal(together[0], maps)
        assert mx.array_equal(back[0], windows).item()


def test_drop_path_acts_in_training_only():
    swin = build_backbone({**SWIN, "drop_path_rate": 0.9})
    x = mx.random.normal((1, 32, 32, 3))
    swin.eval()
    assert mx.array_equal(swin(x)[-1], swin(x)[-1])
    swin.train()
    mx.random.seed(0)
    assert not mx.array_equal(swin(x)[-1], swin(x)[-1])


def test_any_module_with_the_interface_serves_as_a_backbone():
    class Pool(nn.Module):
        channels = (3, 3, 3, 3)

        def __call__(self, x):
            return [x[:, ::stride, ::stride] for stride in (4, 8, 16, 32)]

    config = Mask2FormerConfig(4, feature_size=32, hidden_dim=32, num_attention_heads=4, num_queries=5)
    model = Mask2Former(config, backbone=Pool()).eval()
    assert model(mx.zeros((1, 3, 40, 50)))["masks_queries_logits"].shape == (1, 5, 10, 13)


def test_a_backbone_that_breaks_its_promise_is_told():
    class Liar(nn.Module):
        channels = (3, 3, 3, 3)

        def __call__(self, x):
            return [x[:, ::stride, ::stride] for stride in (4, 8, 16)]

    config = Mask2FormerConfig(4, feature_size=32, hidden_dim=32, num_attention_heads=4, num_queries=5)
    with pytest.raises(InputError, match="promised maps"):
        Mask2Former(config, backbone=Liar())(mx.zeros((1, 3, 40, 50)))

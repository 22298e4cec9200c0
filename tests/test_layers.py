"""What only training runs: dropout, stochastic depth, and where they act."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from helpers import small_model

from lucid_mlx.models.vision.backbones.swin import DropPath
from lucid_mlx.models.vision.mask2former.transformer_decoder import Attention


def test_drop_path_drops_or_rescales_whole_branches():
    mx.random.seed(0)
    layer = DropPath(0.25)
    branches = np.array(layer(mx.ones((4000, 2, 3)))).reshape(4000, -1)
    assert set(np.unique(branches.round(4))) == {0.0, np.float32(1 / 0.75).round(4)}
    assert (branches == branches[:, :1]).all()
    assert abs((branches[:, 0] == 0).mean() - 0.25) < 0.03
    layer.eval()
    assert mx.array_equal(layer(mx.ones((4, 2))), mx.ones((4, 2)))


def test_attention_in_training_computes_what_it_computes_in_inference_but_for_the_dropout():
    mx.random.seed(0)
    attention = Attention(16, 4, dropout=0.5)
    queries, keys, values = (mx.random.normal((2, count, 16)) for count in (5, 7, 7))
    mask = mx.random.uniform(shape=(2, 5, 7)) > 0.4
    mask = mask | ~mask.any(axis=-1, keepdims=True)
    attention.eval()
    wanted = attention(queries, keys, values, mask)[0]
    attention.train()
    assert not mx.allclose(attention(queries, keys, values, mask)[0], wanted, atol=1e-3)
    attention.dropout = nn.Identity()
    np.testing.assert_allclose(np.array(attention(queries, keys, values, mask)[0]), np.array(wanted), atol=1e-5)


@pytest.mark.parametrize("part", ["pixel decoder", "transformer decoder"])
def test_dropout_acts_in_each_decoder(part):
    model = small_model(dropout=0.3)
    maps = model.backbone(mx.random.normal((1, 64, 64, 3)))
    features, memories = model.pixel_decoder(maps)
    module, run = {
        "pixel decoder": (model.pixel_decoder, lambda: model.pixel_decoder(maps)[0]),
        "transformer decoder": (
            model.transformer_decoder,
            lambda: model.transformer_decoder(features, memories).mask_logits[-1],
        ),
    }[part]
    assert mx.array_equal(run(), run())
    module.train()
    assert not mx.allclose(run(), run(), atol=1e-3)


def test_dropout_acts_in_both_halves_of_an_encoder_layer():
    layer = small_model(dropout=0.5).pixel_decoder.layers[0]
    x, positions, levels = mx.random.normal((1, 21, 32)), mx.random.normal((21, 32)), [(1, 1), (2, 2), (4, 4)]
    layer.train()
    for silenced in ("attention.output_projection", "linear2"):
        kept = layer.attention.output_projection if "attention" in silenced else layer.linear2
        before = dict(kept.parameters())
        kept.update({name: mx.zeros_like(value) for name, value in before.items()})
        assert not mx.allclose(layer(x, positions, levels), layer(x, positions, levels), atol=1e-3), silenced
        kept.update(before)


def test_sampling_locations_stay_float32_in_half_precision(monkeypatch):
    seen = []
    from lucid_mlx.models.vision.mask2former import pixel_decoder

    original = pixel_decoder.multi_scale_deformable_attention

    def recording(value, levels, locations, weights):
        seen.append((value.dtype, locations.dtype))
        return original(value, levels, locations, weights)

    monkeypatch.setattr(pixel_decoder, "multi_scale_deformable_attention", recording)
    model = small_model()
    model.set_dtype(mx.float16)
    mx.eval(model(mx.ones((1, 3, 64, 64)))["class_queries_logits"])
    assert seen == [(mx.float16, mx.float32)]

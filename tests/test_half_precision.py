"""Half precision that overflows is computed again in float32."""

import mlx.core as mx
import pytest
from helpers import small_model


def test_predict_computes_what_overflows_in_float32_with_a_warning():
    model = small_model(1)
    head = model.transformer_decoder.class_head
    head.weight = head.weight * 6e4 / mx.abs(head.weight).max()  # its sums are beyond 65504
    pixels = mx.random.normal((1, 3, 64, 64), key=mx.random.key(0))
    exact = model.predict(pixels)
    model.set_dtype(mx.float16)
    with pytest.warns(UserWarning, match="^float16 overflowed, so that float32 was used") as told:
        found = model.predict(pixels.astype(mx.float16))
    assert told[0].filename == __file__
    assert (found == exact).mean().item() > 0.9
    assert model.dtype == mx.float16

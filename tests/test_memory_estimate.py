"""What would not fit into memory is told before anything is computed."""

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_model

from lucid_mlx import InputError, Segmenter, backends


def test_the_estimate_is_lower_than_what_a_forward_takes(monkeypatch):
    segmenter = Segmenter(small_model(), size="512")
    photo = np.zeros((20, 30, 3), np.uint8)
    active = mx.get_active_memory()
    mx.reset_peak_memory()
    segmenter(photo)
    peak = mx.get_peak_memory() - active
    monkeypatch.setattr(backends, "memory_size", lambda: peak)
    segmenter(photo)
    monkeypatch.setattr(backends, "memory_size", lambda: peak // 20)
    with pytest.raises(InputError, match=r"a forward at 512x512 pixels takes more than .* GB .* give a smaller size"):
        segmenter(photo)


def test_a_batch_counts(monkeypatch):
    segmenter = Segmenter(small_model(), size="64")
    monkeypatch.setattr(backends, "memory_size", lambda: 1_000_000)
    photos = [np.zeros((20, 30, 3), np.uint8)] * 20
    assert len(segmenter(photos, batch_size=1)) == 20
    with pytest.raises(InputError, match="20 at a time, takes more .* or a smaller batch size"):
        segmenter(photos, batch_size=20)


def test_a_machine_has_some_memory():
    assert backends.memory_size() > 1e9

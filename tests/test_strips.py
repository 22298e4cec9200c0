"""Overlays that are drawn and written strip by strip are those that are drawn at once."""

import io

import numpy as np
import pytest
from PIL import Image
from results import segmented

from lucid_mlx.cli.formats import write_large_overlay
from lucid_mlx.utils.png_strips import write_png
from lucid_mlx.visualization import strips


@pytest.mark.parametrize("task", ["semantic", "panoptic"])
@pytest.mark.parametrize("size", [(500, 700), (900, 400)], ids=["legend below", "legend beside"])
@pytest.mark.parametrize("rows", [40, 333, 5000])
def test_strips_are_the_whole(tmp_path, monkeypatch, task, size, rows):
    monkeypatch.setattr(strips, "STRIP_PIXELS", rows * size[1])
    result = segmented(task, size=size)
    assert len(result.segments) > 1
    write_large_overlay(tmp_path / "a.png", result, 0.4)
    with Image.open(tmp_path / "a.png") as written:
        assert np.array_equal(np.asarray(written), np.asarray(result.draw(opacity=0.4)))


def test_instances_show_what_the_map_does(tmp_path):
    result = segmented("instance", size=(500, 700))
    write_large_overlay(tmp_path / "a.png", result, 1.0)
    with Image.open(tmp_path / "a.png") as written:
        assert written.width == 700
        drawn = np.asarray(written)[:500]
    assert (drawn != result.image).any(axis=-1)[result.map > 0].mean() > 0.9


def test_a_png_holds_its_rows():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 31, 3), np.uint8)
    file = io.BytesIO()
    write_png(file, 31, 50, (pixels[top : top + 7] for top in range(0, 50, 7)))
    with Image.open(file) as read:
        read.load()
        assert np.array_equal(np.asarray(read), pixels)

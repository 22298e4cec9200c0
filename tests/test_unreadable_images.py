"""Images that cannot be read do not take the others of a batch with them."""

import numpy as np
import pytest
from helpers import PHOTO, SCENES, run_cli, small_model
from PIL import Image

from lucid_mlx import ImageConfig, InputError, Segmenter

NARROW = ImageConfig(size=None, shortest_edge=64)  # which makes a line of pixels very long


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(small_model(), image_config=NARROW)


@pytest.fixture
def images(tmp_path):
    """Two photos, one that is missing, one that is damaged, and one of a shape that no network takes."""
    (tmp_path / "damaged.jpg").write_bytes(PHOTO.read_bytes()[:5000])
    photo = np.zeros((64, 80, 3), np.uint8)
    return [photo, tmp_path / "missing.jpg", tmp_path / "damaged.jpg", np.zeros((1, 9000, 3), np.uint8), photo + 9]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_they_are_skipped_with_one_warning_that_counts_and_names_them(segmenter, images, batch_size):
    with pytest.warns(UserWarning, match=r"skipped 3 of 5 images: .*missing.jpg.*damaged.jpg.*images\[3\]") as told:
        results = segmenter(images, batch_size=batch_size, on_error="skip")
    assert len(told) == 1
    assert [result is None for result in results] == [False, True, True, True, False]
    with pytest.warns(UserWarning, match="skipped 3 of 5 images"):
        assert len(list(segmenter.stream(images, batch_size=batch_size, on_error="skip"))) == 2


def test_by_default_the_first_is_an_error(segmenter, images):
    with pytest.raises(InputError, match="missing.jpg does not exist"):
        segmenter(images)
    with pytest.raises(InputError, match="expected at most .* pixels, and 16384 on a side"):
        segmenter(images[3])


@pytest.mark.filterwarnings("default")
def test_the_command_line_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "c.png"):
        Image.new("RGB", (64, 48)).save(name)
    (tmp_path / "b.png").write_bytes(b"")
    told = run_cli("segment", "a.png", "b.png", "c.png", "--weights", SCENES, "-o", "out", "--size", "64", code=2)
    assert told.stderr.count("b.png is empty") == 1
    assert "1 of 3 photos could not be read" in told.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "c.png"}

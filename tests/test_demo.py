"""The network that comes with the package."""

import json
import re

import mlx.core as mx
import pytest
from helpers import run_cli
from PIL import Image

import lucid_mlx
from lucid_mlx.datasets import TASKS
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import read_checkpoint
from lucid_mlx.weights.address import DEMO_FOLDER, DEMO_PHOTOS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_small_and_complete():
    assert sum(file.stat().st_size for file in DEMO_FOLDER.iterdir()) < 17e6
    checkpoint = read_checkpoint(DEMO_FOLDER)
    assert checkpoint.metadata["dataset"] == "people_and_garments_panoptic"
    assert {array.dtype for array in checkpoint.arrays.values()} == {mx.float16}
    assert all(mx.isfinite(array).all() for array in checkpoint.arrays.values())
    assert "mIoU" in (DEMO_FOLDER / "README.md").read_text()


def test_its_name_will_do_wherever_weights_are_asked_for(folder):
    segmenter = lucid_mlx.Segmenter("demo")
    assert (segmenter.task, segmenter.thing_ids) == ("panoptic", frozenset(range(3, 19)))
    model = lucid_mlx.models.Mask2Former(segmenter.model.config).from_pretrained("demo")
    own, loaded = named_parameters(model), named_parameters(lucid_mlx.load("demo"))
    assert all(mx.array_equal(own[name], loaded[name]) for name in own)
    run_cli("segment", DEMO_PHOTOS[0], "--weights", "demo", "-o", "seen.json", "--format", "json")
    assert json.loads((folder / "seen.json").read_text())["task"] == "panoptic"


def test_a_folder_of_that_name_without_a_model_is_told(folder):
    (folder / "demo").mkdir()
    with pytest.warns(UserWarning, match="./demo means the folder"):
        lucid_mlx.load("demo")


def test_the_verb_draws_all_three_tasks_and_says_what_is_there(folder):
    result = run_cli("demo")
    assert len(DEMO_PHOTOS) == 3
    for task in TASKS:
        assert f"{task}, " in result.stdout
        for photo in DEMO_PHOTOS:
            with Image.open(folder / f"lucid-mlx-demo/{photo.stem}-{task}.png") as picture:
                assert picture.height > 300
    for photo in DEMO_PHOTOS:
        assert (folder / "lucid-mlx-demo" / photo.name).read_bytes() == photo.read_bytes()
    # A class of the network, and how much of a photo it has.
    assert re.search(r"background \d\d\.\d %", result.stdout)
    assert "exists already" in run_cli("demo", code=2).stderr
    run_cli("demo", "--force")


def test_a_file_is_no_folder_for_the_pictures(folder):
    (folder / "there").write_text("precious")
    assert "is a file" in run_cli("demo", "-o", "there", code=2).stderr

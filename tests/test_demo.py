"""The network that comes with the package."""

import json

import mlx.core as mx
import pytest
from helpers import run_cli
from PIL import Image

import lucid_mlx
from lucid_mlx.datasets import TASKS
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import read_checkpoint
from lucid_mlx.weights.address import DEMO_FOLDER


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_small_and_complete():
    assert sum(file.stat().st_size for file in DEMO_FOLDER.iterdir()) < 6e6
    checkpoint = read_checkpoint(DEMO_FOLDER)
    assert checkpoint.metadata["dataset"] == "fashion_scenes_panoptic"
    assert {array.dtype for array in checkpoint.arrays.values()} == {mx.float16}
    assert all(mx.isfinite(array).all() for array in checkpoint.arrays.values())
    assert "PQ" in (DEMO_FOLDER / "README.md").read_text()


def test_its_name_will_do_wherever_weights_are_asked_for(folder):
    segmenter = lucid_mlx.Segmenter("demo")
    assert (segmenter.task, segmenter.thing_ids) == ("panoptic", frozenset(range(10)))
    assert segmenter.image_config.size == (128, 128)
    model = lucid_mlx.models.Mask2Former(segmenter.model.config).from_pretrained("demo")
    own, loaded = named_parameters(model), named_parameters(lucid_mlx.load("demo"))
    assert all(mx.array_equal(own[name], loaded[name]) for name in own)
    run_cli("segment", DEMO_FOLDER / "scene.png", "--weights", "demo", "-o", "seen.json", "--format", "json")
    assert json.loads((folder / "seen.json").read_text())["task"] == "panoptic"


def test_a_folder_of_that_name_without_a_model_is_told(folder):
    (folder / "demo").mkdir()
    with pytest.warns(UserWarning, match="./demo means the folder"):
        lucid_mlx.load("demo")


def test_the_verb_draws_all_three_tasks_and_says_what_is_there(folder):
    result = run_cli("demo")
    for task in TASKS:
        assert f"{task}, " in result.stdout
        with Image.open(folder / f"lucid-mlx-demo/{task}.png") as picture:
            assert picture.width > 128
    assert (folder / "lucid-mlx-demo/scene.png").read_bytes() == (DEMO_FOLDER / "scene.png").read_bytes()
    # A class of the network, and how much of the scene it has.
    assert "grass: " in result.stdout
    assert "exists already" in run_cli("demo", code=2).stderr
    run_cli("demo", "--force")


def test_a_file_is_no_folder_for_the_pictures(folder):
    (folder / "there").write_text("precious")
    assert "is a file" in run_cli("demo", "-o", "there", code=2).stderr

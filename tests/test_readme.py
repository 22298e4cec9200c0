"""The Python of README and guides runs as it stands, with small networks in place of the published ones."""

import re
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from helpers import PHOTO, write_huggingface
from PIL import Image

import lucid_mlx.training

ROOT = Path(__file__).parents[1]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


QUICK_START, LUCID = blocks("README.md")
SEGMENT, COCO, THRESHOLD, TILED, NETWORK, BUILDER, SAVE, PIPELINE, EVALUATE = blocks("docs/python.md")
(CONVERT,) = blocks("docs/converting.md")
(LUCID_3,) = blocks("docs/compatibility.md")
(TRAIN,) = blocks("docs/training.md")


@pytest.fixture
def photos(tmp_path, monkeypatch, hub):
    """A folder with the photos, and a hub with the model, that the pages speak of."""
    labels = dict(enumerate(["person", "car", "sky"]))
    model = write_huggingface(tmp_path / "model", id2label=labels, label2id={name: i for i, name in labels.items()})
    hub.add("facebook/mask2former-swin-tiny-coco-panoptic", model)
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(PHOTO.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_photo_is_segmented(photos, capsys):
    exec(QUICK_START, {})
    assert (photos / "picture.png").exists()
    assert len(capsys.readouterr().out.splitlines()) >= 3


def test_images_are_segmented_with_other_thresholds(photos, capsys):
    names = {}
    exec(SEGMENT, names)
    assert len(names["results"]) == 2
    exec(THRESHOLD, names)
    assert names["more"].task == "panoptic"
    assert "the published test size of coco_panoptic" in capsys.readouterr().out


def test_a_large_picture_is_segmented_in_tiles(photos):
    Image.open(PHOTO).resize((96, 64)).save("aerial.tif")
    exec(TILED.replace("size=1024", "size=64").replace("tile=1024, overlap=128", "tile=64, overlap=16"), names := {})
    assert names["result"].map.shape == (64, 96)


def test_a_coco_file_has_the_categories_of_the_dataset(photos):
    exec(COCO, names := {})
    assert [category["name"] for category in names["categories"]] == ["person", "car", "sky"]
    assert {one["category_id"] for one in names["annotations"]} <= {one["id"] for one in names["categories"]}


def test_the_network_is_used_by_itself(photos):
    names = {}
    exec(NETWORK, names)
    assert names["maps"][0].shape == names["photo"].shape[:2]
    assert set(names["same"][0]) == {"segmentation", "segments_info"}


def test_a_builder_makes_a_network_of_the_shapes_that_the_comment_says(capsys):
    exec(BUILDER, {})
    assert capsys.readouterr().out.strip() == BUILDER.rsplit("# ", 1)[1].strip()


def test_a_network_is_written_as_a_folder(photos):
    exec(SAVE, names := {})
    assert names["segmenter"].labels == {0: "cat", 1: "dog", 2: "grass"}
    assert (names["segmenter"].task, names["segmenter"].thing_ids) == ("panoptic", {0, 1})


def test_a_pipeline_is_called_as_in_transformers(photos):
    exec(PIPELINE.replace("threshold=0.5", 'subtask="semantic"'), names := {})  # random weights are sure of nothing
    assert names["found"]["mask"].size == (600, 400)
    exec(PIPELINE, {})


def test_lucid_3s_names_build_a_network(capsys):
    exec(LUCID_3, {})
    assert capsys.readouterr().out.strip() == LUCID_3.rsplit("# ", 1)[1].strip()


def test_accuracy_is_measured(monkeypatch):
    monkeypatch.setattr(lucid_mlx, "Segmenter", create_autospec(lucid_mlx.Segmenter))
    for module, name in ((lucid_mlx.data, "open_dataset"), (lucid_mlx.evaluation, "evaluate")):
        monkeypatch.setattr(module, name, create_autospec(getattr(module, name)))
    lucid_mlx.data.open_dataset.return_value.records = []
    exec(EVALUATE, {})
    lucid_mlx.evaluation.evaluate.return_value.table.assert_called_once_with()


def test_lucid_s_names_build_networks(monkeypatch):
    calls = []

    def load(*arguments):
        calls.append(arguments)
        return SimpleNamespace(config=getattr(arguments[0], "config", None))

    for name in ("load_checkpoint", "load_into", "load_backbone_into"):
        monkeypatch.setattr(f"lucid_mlx.loading.{name}", load)
    names = {}
    exec(LUCID, names)
    assert len(calls) == 4
    assert names["model"].config.num_labels == 5


def test_a_checkpoint_is_converted(photos):
    exec(CONVERT.replace("quantize_bits=8", "quantize_bits=8, group_size=32"), names := {})
    assert lucid_mlx.load(names["folder"]).config.num_labels == 3


def test_a_training_begins(monkeypatch):
    for name in ("Trainer", "read_config"):
        monkeypatch.setattr(lucid_mlx.training, name, create_autospec(getattr(lucid_mlx.training, name)))
    exec(TRAIN, {"__name__": "__main__"})
    lucid_mlx.training.Trainer.return_value.fit.assert_called_once_with()

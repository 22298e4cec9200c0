"""The README's Python runs as it stands, with small networks in place of the published ones."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import PHOTO, write_huggingface

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FIRST, LAYERS, LUCID = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def photos(tmp_path, monkeypatch, hub):
    """A folder with the photos, and a hub with the model, that the README speaks of."""
    labels = dict(enumerate(["person", "car", "sky"]))
    model = write_huggingface(tmp_path / "model", id2label=labels, label2id={name: i for i, name in labels.items()})
    hub.add("facebook/mask2former-swin-tiny-coco-panoptic", model)
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(PHOTO.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_photo_is_segmented(photos, capsys):
    exec(FIRST, {})
    assert (photos / "picture.png").exists()
    assert len(capsys.readouterr().out.splitlines()) >= 3


def test_the_parts_are_used_one_by_one(photos):
    found = {}
    exec(LAYERS, found)
    assert found["maps"][0].shape == found["photo"].shape[:2]
    assert set(found["same"][0]) == {"segmentation", "segments_info"}


def test_lucid_s_names_build_networks(monkeypatch):
    taken = []

    def taking(*arguments):
        taken.append(arguments)
        return SimpleNamespace(config=getattr(arguments[0], "config", None))

    for name in ("load_checkpoint", "load_into", "load_backbone_into"):
        monkeypatch.setattr(f"lucid_mlx.loading.{name}", taking)
    found = {}
    exec(LUCID, found)
    assert len(taken) == 4
    assert found["model"].config.num_labels == 5

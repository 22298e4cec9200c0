"""`lucid-mlx weights` and `lucid-mlx convert`, with a hub on 127.0.0.1."""

import json
import warnings

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, huggingface_arrays, write_huggingface
from helpers import run_cli as run

import lucid_mlx
from lucid_mlx.weights import read_checkpoint

NAME = "facebook/mask2former-swin-tiny-coco-panoptic"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def published(hub, folder):
    hub.add(NAME, write_huggingface(folder / "theirs"))


def rows(*options):
    return [line.split() for line in run("weights", "list", *options).stdout.splitlines()[1:]]


def test_the_list_shows_all_models_and_can_be_filtered(hub):
    demo, *others = rows()
    assert len(others) == 54 + 24 + 27
    assert demo[:4] == ["demo", "people_and_garments_panoptic", "16", "40"]
    assert demo[-3:] == ["in", "the", "package"]
    tiny = rows("--size", "tiny", "--task", "panoptic", "--dataset", "coco")
    assert [row[0] for row in tiny] == [
        "mask2former_swin_tiny:COCO_PANOPTIC",
        NAME,
        "openmmlab_swin_tiny:COCO_PANOPTIC",
    ]
    assert all(
        row[2] == "190" and "53.2;" in row and row[-3:] == ["800/1333", "cc-by-nc-4.0", "no"] for row in tiny[:2]
    )
    clips, frames = rows("--size", "large", "--dataset", "youtube_vis_2019")[:2]
    assert clips[:4] == ["video_mask2former_swin_large:YOUTUBE_VIS_2019", "youtube_vis_2019_instance", "862", "200"]
    assert clips[4:] == ["AP", "60.4", "480/1333", "cc-by-nc-4.0", "no"]
    assert frames[4:] == ["AP", "62.0", "480/1333", "cc-by-nc-sa-4.0", "no"]
    assert hub.requests == []


def test_weights_are_pulled_found_listed_and_removed(hub, published):
    assert "weights pull" in run("weights", "path", NAME, code=2).stderr
    assert [row[0] for row in rows("--cached")] == ["demo"]
    assert f"{NAME} -> " in run("weights", "pull", NAME).stdout
    path = run("weights", "path", NAME).stdout.strip()
    assert lucid_mlx.load(path).config.num_labels == 3
    assert [row[0] for row in rows("--cached")] == ["demo", NAME]
    assert "removed, 1 MB freed" in run("weights", "remove", NAME).stdout
    assert "not in the cache" in run("weights", "remove", NAME, code=2).stderr
    assert [row[0] for row in rows("--cached")] == ["demo"]


def test_a_name_is_enough_to_convert_and_to_segment(hub, published, folder):
    out = run("convert", NAME).stdout
    assert "mask2former-swin-tiny-coco-panoptic-mlx (huggingface" in out
    assert "license: CC BY-NC 4.0: for non-commercial use" in out
    metadata = read_checkpoint(folder / "mask2former-swin-tiny-coco-panoptic-mlx").metadata
    assert metadata["license"] == "cc-by-nc-4.0"
    run("segment", PHOTO, "--weights", NAME)
    assert (folder / "coffee-segmented.png").is_file()


@pytest.mark.parametrize(
    ("source", "options", "destination"),
    [
        ("theirs", [], "theirs-mlx"),
        ("theirs/", ["--quantize", "8", "--group-size", "32"], "theirs-mlx-8bit"),
        ("theirs/model.safetensors", [], "model-mlx"),
    ],
)
def test_the_default_destination_is_named_after_the_source(source, options, destination, folder):
    write_huggingface(folder / "theirs")
    run("convert", source, *options)
    assert lucid_mlx.load(folder / destination).config.num_queries == 6


def test_a_converted_folder_is_exported_again(folder):
    write_huggingface(folder / "theirs")
    run("convert", "theirs", "ours")
    assert "back" in run("convert", "ours", "back", "--to", "huggingface").stdout
    arrays, metadata = mx.load(str(folder / "back" / "model.safetensors"), return_metadata=True)
    assert metadata["format"] == "pt"
    for key, array in huggingface_arrays().items():
        if key in arrays and ".swin.layernorm" not in key and "empty_weight" not in key:
            assert np.array_equal(np.array(arrays[key]), array), key
    assert "no other option" in run("convert", "ours", "x", "--to", "huggingface", "--quantize", "4", code=2).stderr


def test_labels_come_from_a_dataset_or_a_file_and_a_note_says_if_they_are_missing(folder):
    write_huggingface(folder / "theirs")
    (folder / "theirs" / "config.json").unlink()
    errors = run("convert", "theirs/model.safetensors", "numbers").stderr
    assert "does not name its 3 classes" in errors
    assert lucid_mlx.load("numbers").config.id2label[2] == "LABEL_2"
    (folder / "names.txt").write_text("cup\ntable\n\nspoon\n")
    (folder / "names.json").write_text(json.dumps({"id2label": {"10": "x", "0": "cup", "1": "table"}}))
    (folder / "number.json").write_text("7")
    (folder / "odd.json").write_text('{"a": "cup"}')
    (folder / "names.yaml").write_text("0: cup\n1: table\n2: spoon\n")
    categories = [{"id": 10, "name": "x"}, {"id": 1, "name": "cup"}, {"id": 9, "name": "table"}]
    (folder / "names.coco.json").write_text(json.dumps({"categories": categories}))
    for file, last in (("names.txt", "spoon"), ("names.json", "x"), ("names.coco.json", "x")):
        assert run("convert", "theirs/model.safetensors", file[6:], "--class-names", file).stderr == ""
        assert lucid_mlx.load(file[6:]).config.id2label == {0: "cup", 1: "table", 2: last}
    for labels, message in (
        ("coco_panoptic", "'coco_panoptic' names 133 classes, and the network has 3, without background"),
        ("nowhere.txt", "no such file, with a name on each line, nor such a dataset; the datasets are coco_panoptic"),
        ("number.json", "must hold a list of names"),
        ("odd.json", "must map class ids to names"),
        ("names.yaml", "is no list of names; write a text file"),
    ):
        assert message in run("convert", "theirs/model.safetensors", "new", "--class-names", labels, code=2).stderr
    assert not (folder / "new").exists()


def test_the_names_that_openmmlab_stores_are_read(folder):
    import pickle

    from lucid_mlx.convert.source import read_source

    tree = {"meta": {"dataset_meta": {"classes": ("a", "b")}}, "state_dict": {"x": np.ones(3, np.float32)}}
    (folder / "new.pkl").write_bytes(pickle.dumps(tree))
    (folder / "old.pkl").write_bytes(pickle.dumps({**tree, "meta": {"CLASSES": ["c", "d"]}}))
    assert read_source(folder / "new.pkl").labels == ["a", "b"]
    assert read_source(folder / "old.pkl").labels == ["c", "d"]


def test_a_warning_lists_weights_that_are_not_finite(folder):
    arrays = huggingface_arrays()
    arrays["class_predictor.bias"][1] = np.nan
    arrays["model.transformer_module.queries_features.weight"][0, 0] = np.inf
    write_huggingface(folder / "theirs", arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        errors = run("convert", "theirs", "ours").stderr
    assert "warning: theirs: 2 parameters hold NaN or infinite values" in errors
    assert "transformer_decoder.class_head.bias" in errors
    with pytest.warns(UserWarning, match="2 parameters hold NaN"):
        lucid_mlx.load("theirs")


def test_a_note_says_if_a_conversion_cannot_be_verified(folder, monkeypatch):
    import importlib.util

    write_huggingface(folder / "theirs")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    assert "not verified" in run("convert", "theirs", "ours", "--verify").stderr


def test_the_card_describes_the_checkpoint(folder):
    write_huggingface(folder / "theirs")
    (folder / "theirs" / "README.md").write_text("---\nlicense: mit\n---\n")
    run("convert", "theirs", "ours", "--quantize", "4", "--group-size", "32")
    card = (folder / "ours" / "README.md").read_text()
    for fact in ("license: mit", "in 4 bits", "0 cup, 1 table, 2 spoon", "Queries: 6", "library_name: mlx"):
        assert fact in card
    (folder / "theirs" / "README.md").write_text("---\nlicense: [\n---\n")
    assert "license: other" in run("convert", "theirs", "again").stdout

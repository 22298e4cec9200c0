"""Every script of examples/ runs as it stands there, on a small network that was told what to see in the photo."""

import ast
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, RESNET, small_model
from hub_files import publish, small
from mlx.utils import tree_flatten
from PIL import Image
from runs import small_run

import lucid_mlx
import lucid_mlx.weights as W
from lucid_mlx.datasets import dataset_classes
from lucid_mlx.preprocessing import ImageConfig, preprocess, read_image
from lucid_mlx.training import LargeScaleJitter, Trainer

EXAMPLES = PHOTO.parent
BENCHMARKS = EXAMPLES.parent / "benchmarks"
SIZE = {"size": {"height": 96, "width": 128}}
SEEN = ("person", "cup", "sky-other-merged", "dining table", "person", "cup")  # by query; the sky's mask is largest


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with a panoptic network whose class head is solved to give each query its class on the photo."""
    names = [entry.name for entry in dataset_classes("coco_panoptic")]
    model = small_model(num_labels=len(names))
    model.config.id2label = dict(enumerate(names))
    pixels, _ = preprocess(read_image(PHOTO), ImageConfig.from_dict(SIZE))
    decoder = model.transformer_decoder
    queries = np.array(decoder.norm(model(pixels.transpose(0, 3, 1, 2))["transformer_decoder_last_hidden_state"]))[0]
    wanted = np.full((len(SEEN), len(names) + 1), -10.0)
    wanted[range(len(SEEN)), [names.index(name) for name in SEEN]] = 10.0
    decoder.class_head.weight = mx.array((np.linalg.pinv(queries.astype(np.float64)) @ wanted).T.astype(np.float32))
    decoder.class_head.bias = mx.zeros(len(names) + 1)
    folder = tmp_path_factory.mktemp("weights") / "model"
    arrays = dict(tree_flatten(model.parameters()))
    return W.write_checkpoint(folder, model.config.to_dict(), arrays, {"dataset": "coco_panoptic"}, SIZE)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a script in an empty folder, and return what it prints."""
    monkeypatch.chdir(tmp_path)

    def script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return script


def test_lucid_s_documented_examples_run(run, hub, monkeypatch, tmp_path):
    member = W.Mask2Former_Swin_Tiny_Weights.ADE20K_SEMANTIC
    publish(hub, monkeypatch, member, small(backbone_config=member.config["backbone_config"]), tmp_path)
    printed = run("lucid_build.py", "--weights", "ADE20K_SEMANTIC").splitlines()
    assert printed[:3] == ["class logits (1, 100, 151)", "mask logits (1, 100, 56, 56)", "class map (1, 224, 224)"]
    assert printed[3:] == ["first classes: wall, building, sky, floor, tree", "class map (1, 224, 224)"]


class TestBatchFolder:
    @pytest.fixture
    def photos(self, tmp_path):
        folder = tmp_path / "photos"
        folder.mkdir()
        with Image.open(PHOTO) as photo:
            for name in ("a.jpg", "b.PNG"):
                photo.resize((300, 200)).save(folder / name)
        (folder / "notes.txt").write_text("no picture")
        return folder

    def test_each_picture_gets_an_overlay_and_only_once(self, run, weights, photos):
        out = Path("made") / "overlays"
        assert (
            run("batch_folder.py", photos, out, "--weights", weights, "--batch-size", 2)
            == f"2 of 2 pictures -> {out}\n"
        )
        assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "b.PNG"]
        overlay = read_image(out / "b.PNG")
        assert np.array_equal(overlay, np.array(lucid_mlx.Segmenter(weights)(photos / "b.PNG").draw()))
        assert run("batch_folder.py", photos, out, "--weights", weights) == f"0 of 2 pictures -> {out}\n"

    def test_a_damaged_picture_stops_no_other(self, run, weights, photos):
        (photos / "aa.jpg").write_bytes(b"no picture")
        with pytest.warns(UserWarning, match="skipped 1 of 3 images"):
            assert run("batch_folder.py", photos, "out", "--weights", weights) == "2 of 3 pictures -> out\n"

    def test_photos_are_never_overwritten(self, run, weights, photos, capsys):
        before = (photos / "a.jpg").read_bytes()
        for folders in ((photos, photos), (photos / "a.jpg", "overlays")):
            with pytest.raises(SystemExit):
                run("batch_folder.py", *folders, "--weights", weights)
        assert re.search("another folder than the photos.*a.jpg is no folder", capsys.readouterr().err, re.DOTALL)
        assert (photos / "a.jpg").read_bytes() == before


def test_panoptic_results_are_what_coco_s_tools_expect(run, weights, tmp_path):
    with Image.open(PHOTO) as photo:
        photo.rotate(180).save(tmp_path / "coffee.jpg")  # two photos of one name
    run("panoptic_to_coco.py", PHOTO, "coffee.jpg", "--weights", weights, "-o", "made/panoptic")
    data = json.loads(Path("made/panoptic.json").read_text())
    assert [(image["id"], image["width"], image["height"]) for image in data["images"]] == [
        (1, 600, 400),
        (2, 600, 400),
    ]
    kinds = {category["id"]: category for category in data["categories"]}
    assert {kinds[1]["name"], kinds[1]["isthing"]} == {"person", 1}
    assert [kind["isthing"] for kind in kinds.values() if kind["name"] == "sky-other-merged"] == [0]
    assert [annotation["image_id"] for annotation in data["annotations"]] == [1, 2]
    for annotation in data["annotations"]:
        red, green, blue = np.moveaxis(np.array(Image.open(Path("made/panoptic") / annotation["file_name"])), -1, 0)
        ids, areas = np.unique(red + 256 * green.astype(int) + 65536 * blue.astype(int), return_counts=True)
        segments = {segment["id"]: segment["area"] for segment in annotation["segments_info"]}
        assert segments
        assert segments == {number: area for number, area in zip(ids, areas, strict=True) if number}
    found = {kinds[segment["category_id"]]["name"] for segment in data["annotations"][0]["segments_info"]}
    assert found == set(SEEN)


class TestCompareCheckpoints:
    def test_a_checkpoint_agrees_with_itself(self, run, weights):
        printed = run("compare_checkpoints.py", "--weights", weights, weights)
        assert "the same class on 100.0% of the pixels -> compared.png" in printed
        assert len(re.findall(rf"{weights}: \d+\.\d\d s, person", printed)) == 2
        one = lucid_mlx.Segmenter(weights, task="semantic")(PHOTO).draw()
        with Image.open("compared.png") as both:
            assert both.width > 2 * one.width
            assert both.height >= one.height

    def test_classes_are_compared_by_name_not_by_number(self, run, weights, tmp_path):
        checkpoint = W.read_checkpoint(weights)
        names = list(checkpoint.config["id2label"].values())
        names[0], names[41] = "cup, mug", "Person"  # the other way round
        config = {**checkpoint.config, "id2label": dict(enumerate(names))}
        other = W.write_checkpoint(tmp_path / "other", config, checkpoint.arrays, {}, SIZE)
        assert "the same class on 0.0% of the pixels" in run("compare_checkpoints.py", "--weights", weights, other)


class TestNameSegments:
    def test_a_backbone_learns_to_name_segments_and_nothing_else_changes(self, run, tmp_path, monkeypatch):
        config = small_run(tmp_path, fields={"backbone_config": {**RESNET, "freeze_batch_norm": False}})
        for path in Path(config.train.images).iterdir():  # each class in a color of its own
            with Image.open(Path(config.train.annotations) / path.name) as labels:
                Image.fromarray(np.array([40, 120, 200], np.uint8)[np.asarray(labels)]).convert("RGB").save(path)
        monkeypatch.setattr(lucid_mlx.training, "read_config", lambda path: config)
        printed = run("name_segments.py", "train.toml", "named", "--steps", 60, "--batch-size", 4)
        first, *_, last = map(int, re.findall(r"(\d+)%", printed))
        assert first > 60  # in the mean of all steps
        assert last < 50  # a map of one cell tells three classes not apart
        named = lucid_mlx.load("named").parameters()
        before = Trainer(config, tmp_path / "before").model.parameters()
        for part, arrays in before.items():
            changed = [not mx.array_equal(*pair) for pair in zip(*map(leaves, (arrays, named[part])), strict=True)]
            assert all(changed) if part == "backbone" else not any(changed)

    def test_samples_that_maps_do_not_divide_are_refused(self, run, tmp_path, monkeypatch, capsys):
        config = small_run(tmp_path, augmentation=LargeScaleJitter(40, 1.0, 1.0))
        monkeypatch.setattr(lucid_mlx.training, "read_config", lambda path: config)
        with pytest.raises(SystemExit, match="2"):
            run("name_segments.py", "train.toml", "named")
        assert "samples have 40x40 pixels; both sides must be multiples of 32" in capsys.readouterr().err
        assert not Path("named").exists()


def leaves(tree):
    return [array for _, array in tree_flatten(tree)]


def test_every_script_is_short_says_how_to_call_it_and_is_tested_here():
    # These have tests of their own.
    elsewhere = {"fashion_scenes.py", "moving_scenes.py", "open_nsfw_backbone.py", "people_and_garments.py"}
    scripts = sorted(set(EXAMPLES.glob("*.py")) - {EXAMPLES / name for name in elsewhere})
    assert len(scripts) == 5
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert f"python examples/{script.name}" in ast.get_docstring(ast.parse(text))
        assert len(text.splitlines()) <= (110 if script.name == "name_segments.py" else 45)
        assert f'"{script.name}"' in Path(__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_can_be_started(script):
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout

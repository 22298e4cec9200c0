"""`lucid-mlx eval`: labeled images in, a table and a file of metrics out."""

import json
from dataclasses import fields

import mlx.core as mx
import pytest
from helpers import run_cli, small_model
from labeled import NAMES, panoptic, write_coco, write_label_maps
from mlx.utils import tree_flatten

from lucid_mlx.cli.eval import eval_
from lucid_mlx.training.config import DatasetConfig
from lucid_mlx.weights import write_checkpoint


def run(*arguments, **options):
    return run_cli("eval", *arguments, **options)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_label_maps(tmp_path, 3)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "pan").mkdir()
    write_coco(tmp_path / "pan", panoptic())
    model = small_model(num_labels=3)
    model.config.id2label = dict(enumerate(NAMES))
    arrays: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    write_checkpoint(
        "model", model.config.to_dict(), arrays, {"task": "panoptic"}, {"size": {"height": 32, "width": 32}}
    )
    return tmp_path


MAPS = ("--weights", "model", "--images", "images", "--annotations", "labels", "--class-names", "names.txt")
SEMANTIC = (*MAPS, "--task", "semantic")
PANOPTIC = ("--weights", "model", "--images", "pan/images", "--annotations", "pan/coco.json")


def test_a_table_is_printed_and_the_metrics_are_written(folder):
    result = run(*SEMANTIC, "--output", "metrics.json", "--batch-size", "2")
    assert "semantic segmentation of 3 images" in result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if line] == ["mIoU", "fwIoU", "mACC", "pACC", "class", *NAMES]
    written = json.loads((folder / "metrics.json").read_text())
    assert (written["task"], written["num_images"], list(written["per_class"])) == ("semantic", 3, list(NAMES))
    assert f"{written['metrics']['mIoU']:.2f}" == lines[0].split()[1]


def test_the_task_is_that_of_the_weights():
    result = run(*PANOPTIC)
    assert "panoptic segmentation of 1 images" in result.stderr
    assert result.stdout.startswith("PQ")
    assert run(*PANOPTIC, "--task", "instance").stdout.startswith("AP")
    assert run(*PANOPTIC, "--panoptic-folder", "pan/coco", "--threshold", "0.1").stdout.startswith("PQ")


def test_two_evaluations_are_compared(folder):
    run(*SEMANTIC, "--output", "metrics.json")
    lines = run(*SEMANTIC, "--limit", "1", "--compare", "metrics.json").stdout.splitlines()
    assert lines[0].split() == ["this", "other", "change"]
    assert [line.split()[0] for line in lines[1:]] == ["mIoU", "fwIoU", "mACC", "pACC", "IoU", "IoU", "IoU"]
    result = run(*PANOPTIC, "--compare", "metrics.json", code=2)
    assert "metrics of panoptic segmentation cannot be compared with those of semantic" in result.stderr


def test_several_scales_and_mirror_images_are_averaged():
    result = run(*SEMANTIC, "--scales", "1, 1.5", "--flip")
    assert "semantic segmentation of 3 images, 4 views of each" in result.stderr
    assert result.stdout.startswith("mIoU")


def test_limit_evaluates_the_first_images_only():
    assert "of 2 images" in run(*SEMANTIC, "--limit", "2").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*SEMANTIC, "--output", "precious.json"), "precious.json exists already; choose another name or pass --force"),
        ((*SEMANTIC, "--output", "none/a.json"), "the folder none does not exist"),
        ((*SEMANTIC, "--output", "labels"), "labels is a folder; expected the name of a file"),
        ((*SEMANTIC, "--compare", "names.txt"), "names.txt is not JSON"),
        ((*MAPS, "--images", "none"), "the folder none does not exist; expected the images"),
        ((*MAPS,), "labels for semantic segmentation cannot evaluate panoptic segmentation"),
        (
            (*SEMANTIC, "--class-names", "cityscapes_semantic"),
            "does not know 18 of the 19 classes of the dataset",
        ),
        ((*PANOPTIC, "--class-names", "names.txt"), "pan/coco.json has its own class names"),
        ((*SEMANTIC, "--weights", "none"), "none"),
        ((*SEMANTIC, "--scales", "0.5;1"), "--scales must be numbers separated by commas, such as 0.5,1,1.5"),
        ((*SEMANTIC, "--scales", "0.5,9"), "scales must be 1 to 32 different factors from 0.1 to 4"),
        ((*PANOPTIC, "--flip"), "are for semantic segmentation, and this is panoptic segmentation"),
    ],
)
def test_errors_are_reported_and_nothing_is_written(arguments, message, folder):
    (folder / "precious.json").write_text("precious")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert message in run(*arguments, code=2).stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_force_overwrites(folder):
    (folder / "metrics.json").write_text("old")
    run(*SEMANTIC, "--output", "metrics.json", "--force")
    assert json.loads((folder / "metrics.json").read_text())["num_images"] == 3


def test_labels_for_another_task_name_the_option():
    result = run(*MAPS, code=2)
    assert "labels for semantic segmentation cannot evaluate panoptic segmentation" in result.stderr
    assert "--task semantic" in result.stderr


@pytest.mark.filterwarnings("default")
def test_label_maps_have_the_settings_of_the_training_file(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "split.txt").write_text("\ufeff0\r\nlabels/1.png\r\n")
    (folder / "merge.json").write_text('{"sky": ["sky", "boat"], "sea": ["sea"]}')
    settings = (
        "--split",
        "~/split.txt",
        "--merge",
        "~/merge.json",
        "--endings",
        ".png",
        ".png",
        "--ignore-index",
        "255",
    )
    home = ("--weights", "model", "--images", "~/images", "--annotations", "~/labels", "--names", "~/names.txt")
    result = run(*home, "--task", "semantic", *settings, "--orientation", "stored", "-o", "~/metrics.json")
    assert "semantic segmentation of 2 images" in result.stderr
    assert list(json.loads((folder / "metrics.json").read_text())["per_class"]) == ["sky", "sea"]
    assert "split.txt is also an input" in run(*home, *settings, "-o", "split.txt", "--force", code=2).stderr
    (folder / "labels" / "2.png").unlink()
    result = run(*home, "--task", "semantic", "--skip-unlabeled")
    assert "warning: 1 of 3 images have no label map in" in result.stderr
    assert "semantic segmentation of 2 images" in result.stderr
    assert "`skip_unlabeled`" in run(*home, code=2).stderr


def test_every_key_of_the_training_file_is_an_option():
    keys = {item.name.replace("_", "-") for item in fields(DatasetConfig)}
    assert keys <= {option.removeprefix("--") for parameter in eval_.params for option in parameter.opts}

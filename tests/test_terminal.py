"""What reaches a terminal: nothing from outside that controls it, or passes for a line of ours."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, huggingface_arrays, run_cli, small_model, write_huggingface
from labeled import panoptic, write_coco, write_label_maps
from PIL import Image

import lucid_mlx
from lucid_mlx.data.validate import Problems
from lucid_mlx.evaluation import Evaluation
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint

HOSTILE = ["\x1b]0;x\x07", "a\nError: b", "<b>", "[x](javascript:1)", "\u202eabc", "\x9b31m", "a\rb", "\x7f", "\u2028"]
NAMES = [f"{number} {name}" for number, name in enumerate(HOSTILE)]  # each another one
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FILE = "\x1b]0;x\x07\n\u202e\x9b[x](y)<b>"  # and all of it may be in the name of a file


def run(*arguments, code=0):
    result = run_cli(*arguments, code=code)
    for stream in (result.stdout, result.stderr):
        assert not CONTROLS.search(stream), repr(stream)
        assert "\nError: b" not in stream
    return result


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def weights(folder):
    mx.random.seed(1)
    model = small_model(num_labels=len(NAMES), init_std=1.0)
    model.config.id2label = dict(enumerate(NAMES))
    metadata = {"source": FILE, "dataset": "\x1b[2J", "task": "semantic", "license": "\x1b[31m"}
    image_config = {"size": {"height": 64, "width": 64}}
    return write_checkpoint(folder / "weights", model.config.to_dict(), named_parameters(model), metadata, image_config)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("task", lucid_mlx.datasets.TASKS)
def test_names_of_classes_and_photos(weights, folder, task):
    (folder / "trip").mkdir()
    shutil.copy(PHOTO, folder / "trip" / f"{FILE}\udcff.jpg")  # no UTF-8
    (folder / "trip" / f"{FILE}.png").write_text("no picture")
    result = run("segment", "trip", "--weights", weights, "--task", task, "--threshold", "0", code=2)
    assert "\\x1b]0;x\\x07\\n\\u202e\\x9b[x](y)<b>\\udcff.jpg: 600x400, " in result.stdout
    assert "<b>.png is not an image" in result.stderr
    assert "did you mean" in run("segment", PHOTO, "--weights", weights, "--labels", "[x](javascript:2)", code=2).stderr
    assert "known are" in run("segment", PHOTO, "--weights", weights, "--labels", "\x1b", code=2).stderr


def test_what_a_result_says_of_itself(weights):
    result = lucid_mlx.Segmenter(weights)(PHOTO)
    named = lucid_mlx.results.Segmentation("semantic", result.image, result.map, result.segments, result.labels, FILE)
    for text in (repr(named), named.summary()):
        assert not CONTROLS.search(text)
        assert "\n" not in text
    assert set(result.labels.values()) == set(NAMES)  # the names themselves do not change


def test_tables_of_classes(weights, folder):
    raw = panoptic()
    raw["categories"] = [{"id": number, "name": name, "isthing": 0} for number, name in enumerate(NAMES, 1)]
    raw["annotations"][0]["segments_info"][2]["iscrowd"] = 0
    images, annotations = write_coco(folder, raw)
    data = ("--images", images, "--annotations", annotations, "--task", "semantic")
    result = run("eval", "--weights", weights, *data, "-o", f"{FILE}.json")
    assert len(result.stdout.splitlines()) == 4 + 2 + len(NAMES)
    compared = run("eval", "--weights", weights, *data, "--compare", f"{FILE}.json")
    assert len(compared.stdout.splitlines()) == 1 + 4 + len(NAMES)
    table = Evaluation("semantic", 1, {"\x1b": 1.0}, {"a\nb": {"IoU": 1.0}}).table()
    assert not CONTROLS.search(table)
    assert len(table.splitlines()) == 4


def test_converting(folder):
    labels = {"id2label": {str(number): name for number, name in enumerate(HOSTILE[:3])}}
    source = write_huggingface(folder / FILE, **labels)
    (source / "README.md").write_text("---\nlicense: '\x1b[31m'\n---\n")
    assert "license: other" in run("convert", source, "--dry-run").stdout
    result = run("convert", source, folder / "converted")
    assert "license: other" in result.stdout
    assert "exists already" in run("convert", source, folder / "converted", code=2).stderr
    assert "MLX's layout" in run("convert", folder / "converted", folder / "again", code=2).stderr
    arrays = {f"{key}\x1b\n": array for key, array in huggingface_arrays().items()}
    assert "no known family" in run("convert", write_huggingface(folder / "keys", arrays), "--dry-run", code=2).stderr


def test_training(folder):
    images, labels = write_label_maps(folder / FILE, 2)
    paths = [json.dumps(str(path)) for path in (images, labels, folder / "\n\x1b.txt")]
    (folder / f"{FILE}.toml").write_text(
        "steps = 1\n[train]\nimages = {}\nannotations = {}\nnames = {}\n".format(*paths)
    )
    assert "does not exist" in run("train", f"{FILE}.toml", "-o", "out", code=2).stderr
    (folder / "odd.toml").write_text('"\\u001b[31m" = 1\n["\\n\\u202e"]\n')
    assert "odd.toml" in run("train", "odd.toml", "-o", "out", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b]0;x\x07"],
        ["segment", "--\x1b]0;x\x07\n"],
        ["segment", PHOTO, "--task", "\x1b\u202e"],
        ["segment", PHOTO, "--threshold", "\x9b"],
        ["segment", "\x1b\n.jpg"],
        ["segment", PHOTO, "--weights", "\x1b\n\u202e"],
        ["segment", PHOTO, "--format", "\x1b"],
        ["segment", "http://[\x1b"],
        ["convert", "a", "b", "c\x1b\n"],
        ["convert", "\x1b\n"],
        ["weights", "path", "\x1b\n/\u202e"],
        ["weights", "list", "\x1b\n"],
        ["bench", "--size", "\x1b\n"],
        ["bench", "--model", "\x1b\n"],
        ["eval", "--weights", "x", "--images", "\x1b\n", "--annotations", "\x1b\n"],
        ["video", "\x1b\n.mp4", "-o", "\x1b\n.xyz"],
        ["train", "\x1b\n.toml", "-o", "\x1b"],
        ["app", "--port", "\x1b\n"],
    ],
    ids=repr,
)
def test_arguments_that_are_cited(arguments):
    assert run(*arguments, code=2).stderr


def test_warnings(folder):
    arrays = huggingface_arrays()
    arrays["class_predictor.bias"][:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run("convert", write_huggingface(folder / FILE, arrays), folder / "converted")
    assert "warning: \\x1b]0;x\\x07\\n\\u202e\\x9b[x](y)<b>: 1 parameters hold NaN" in result.stderr


def test_an_error_in_python_has_one_line_for_each_problem_and_no_control_characters():
    problems = Problems("\x1b[2J")
    problems.add("a\nb")
    problems.add("\u202e")
    with pytest.raises(lucid_mlx.InputError) as caught:
        problems.raise_if_any()
    assert str(caught.value) == "\\x1b[2J: 2 problems\n  a\\nb\n  \\u202e"
    assert str(lucid_mlx.InputError("a\nb é 日本")) == "a\\nb é 日本"


def test_a_terminal_that_lacks_a_character_gets_its_number(weights, folder):
    Image.new("RGB", (40, 40)).save(folder / "日本.png")
    done = subprocess.run(
        [sys.executable, "-m", "lucid_mlx", "segment", "日本.png", "--weights", str(weights)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u65e5\\u672c.png: 40x40" in done.stdout

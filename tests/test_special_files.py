"""A pipe, a socket or a device in the place of a file is told at once: reading it would wait for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PHOTO, SCENES, run_cli

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.evaluation import Evaluation
from lucid_mlx.preprocessing import read_image
from lucid_mlx.weights import read_checkpoint
from lucid_mlx.weights.checkpoint import is_converted, read_safetensors
from lucid_mlx.weights.download import sha256


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pipe(path):
    Path(path).parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    return Path(path)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_image, "a.png"),
        (lucid_mlx.load, "a.safetensors"),
        (lucid_mlx.load, "a.pth"),
        (lucid_mlx.load, "a.pkl"),
        (read_safetensors, "a.safetensors"),
        (sha256, "a.pth"),
        (Evaluation.from_json, "a.json"),
    ],
)
def test_a_pipe_is_refused(read, name):
    with pytest.raises(InputError, match=f"{name} is a pipe or a device, not a file"):
        read(pipe(name))


def test_a_device_and_a_link_to_a_pipe_are_refused():
    Path("link.png").symlink_to(pipe("pipe").absolute())
    for path in ("/dev/zero", "link.png"):
        with pytest.raises(InputError, match="is a pipe or a device, not a file; expected an image file"):
            read_image(path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "model.safetensors.index.json"])
def test_a_pipe_in_a_folder_of_weights_is_refused(name):
    pipe(f"model/{name}")
    assert not is_converted(Path("model"))
    for read in (lucid_mlx.load, read_checkpoint):
        with pytest.raises(InputError):
            read("model")


def test_a_pipe_among_photos_is_no_photo(folder):
    pipe("photos/a.png")
    assert "holds no pictures" in run_cli("segment", "photos", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "PIPE"),
        ("segment", PHOTO, "--weights", "PIPE"),
        ("convert", "PIPE", "-o", "out"),
        ("eval", "--weights", SCENES, "--images", ".", "--annotations", "PIPE"),
        ("eval", "--weights", SCENES, "--images", ".", "--annotations", ".", "--compare", "PIPE"),
        ("train", "PIPE", "-o", "out"),
    ],
)
def test_every_verb_refuses_a_pipe(arguments):
    pipe("PIPE")
    assert "is a pipe or a device" in run_cli(*arguments, code=2).stderr


def test_standard_input_is_read_and_bounded(folder):
    from lucid_mlx.cli.inputs import contents

    code = "from lucid_mlx.cli.inputs import contents\nfrom lucid_mlx.preprocessing import read_image\n"
    code += "print(read_image(contents('-')).shape)"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, input=PHOTO.read_bytes(), capture_output=True, check=True, env=environment)
    assert done.stdout.startswith(b"(")
    with Path("/dev/zero").open("rb") as endless:
        environment["LUCID_MLX_MAX_IMAGE_MB"] = "1"
        done = subprocess.run(command, stdin=endless, capture_output=True, check=False, env=environment)
    assert b"has more than 1 MB; the limit is 1 MB" in done.stderr
    assert contents("a.png") == "a.png"


def test_a_run_in_a_folder_that_is_not_empty_is_refused_before_its_data_are_read(folder):
    (folder / "out").mkdir()
    (folder / "out" / "precious").touch()
    (folder / "run.toml").write_text('steps = 1\n[train]\nimages = "none"\nannotations = "none"\n')
    assert "out exists already" in run_cli("train", "run.toml", "-o", "out", code=2).stderr


def test_the_folder_of_a_run_with_a_pipe_in_it_is_refused(folder):
    from lucid_mlx.training.folder import RunFolder

    for name in ("lock", "metrics.jsonl"):
        run = object.__new__(RunFolder)
        run.path = folder / name
        run.path.mkdir()
        pipe(run.training / name)
        with pytest.raises(InputError, match="is a pipe or a device"), run.locked():
            pass

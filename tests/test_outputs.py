"""What may be written: files only, never through a device, and never what is read."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from helpers import run_cli
from labeled import NAMES, write_label_maps
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.utils.files import atomic_write, write_file, write_image

SMALL = ("--size", "64", "--task", "panoptic")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "photos" / "a.png")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_special(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "link":
        os.mkfifo("other")
        path.symlink_to("other")
    elif kind == "device":
        path.symlink_to("/dev/null")


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("kind", ["pipe", "socket", "link", "device"])
def test_a_pipe_a_socket_and_a_device_are_never_replaced(kind, folder):
    out = Path("out.png")
    make_special(kind, out)
    before = out.lstat()
    for write in (
        lambda: write_file(out, b"x"),
        lambda: write_image(out, Image.new("RGB", (2, 2))),
        lambda: atomic_write(out).__enter__(),
    ):
        with pytest.raises(InputError, match=r"out.png is a device, a pipe or a socket; expected the name of a file"):
            write()
    for verb in (("segment", "photos/a.png", "--weights", "demo"), ("bench",)):
        told = run_cli(*verb, "-o", out, "--force", code=2).stderr
        assert "out.png is a device, a pipe or a socket" in told
    (folder / "demo").mkdir()
    (folder / "demo" / "shoes-panoptic.png").symlink_to(out.absolute())
    told = run_cli("demo", "-o", "demo", "--force", code=2).stderr
    assert "is a device, a pipe or a socket" in told
    assert out.lstat().st_ino == before.st_ino


def test_a_write_through_a_link_changes_the_file_and_keeps_the_link(folder):
    (folder / "disk").mkdir()
    (folder / "disk" / "real.png").write_text("old")
    (folder / "out.png").symlink_to("disk/real.png")
    (folder / "new.png").symlink_to("disk/new.png")
    for name in ("out.png", "new.png"):
        write_image(folder / name, Image.new("RGB", (2, 2)))
        assert (folder / name).is_symlink()
    for name in ("real.png", "new.png"):
        with Image.open(folder / "disk" / name) as image:
            assert image.size == (2, 2)
        assert not (folder / "disk" / name).is_symlink()


def test_a_link_in_a_circle_is_told(folder):
    (folder / "out.png").symlink_to("out.png")
    with pytest.raises(InputError, match="cannot be written"):
        write_file(folder / "out.png", b"x")


@pytest.mark.parametrize(
    "arguments",
    [
        ("photos/", "-o", "photos"),
        ("photos/a.png", "-o", "./photos/../photos/a.png"),
        ("photos/a.png", "-o", "symlink.png"),
        ("photos/a.png", "-o", "hardlink.png"),
        ("photos/*.png", "-o", "linked"),
        ("symlink.png", "-o", "photos/a.png"),
    ],
)
def test_a_photo_is_never_overwritten_whatever_it_is_called(arguments, folder):
    (folder / "symlink.png").symlink_to("photos/a.png")
    (folder / "hardlink.png").hardlink_to("photos/a.png")
    (folder / "linked").symlink_to("photos")
    before = contents(folder)
    told = run_cli("segment", *arguments, "--force", *SMALL, code=2).stderr
    assert "is also an input" in told
    assert "segmentation in" not in told  # before any work
    assert contents(folder) == before


def test_another_file_beside_the_photos_is_overwritten_by_force(folder):
    (folder / "photos" / "out.json").write_text("old")
    run_cli("segment", "photos/a.png", "-o", "photos/out.json", "--format", "json", "--force", "--weights", "demo")
    assert (folder / "photos" / "out.json").read_text() != "old"


def test_weights_are_never_overwritten(folder):
    (folder / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / "model" / name).write_text("precious")
        output = ("-o", f"model/{name}", "--format", "json", "--force")
        assert "is also an input" in run_cli("segment", "photos/a.png", "--weights", "model", *output, code=2).stderr
        assert (folder / "model" / name).read_text() == "precious"


@pytest.mark.parametrize("output", ["names.txt", "images/../images/*", "labels/*", "link.json", "other.json"])
def test_an_evaluation_overwrites_nothing_that_it_reads(output, folder):
    write_label_maps(folder, 2)
    (folder / "names.txt").write_text("\n".join(NAMES))
    (folder / "other.json").write_text('{"task": "semantic", "num_images": 1, "metrics": {}, "per_class": {}}')
    (folder / "link.json").hardlink_to("other.json")
    path = next(iter(sorted(folder.glob(output))))
    before = contents(folder)
    told = run_cli(
        "eval", "--weights", "demo", "--images", "images", "--annotations", "labels", "--class-names", "names.txt",
        "--compare", "other.json", "-o", path, "--force", code=2,
    ).stderr  # fmt: skip
    assert "is also an input" in told
    assert contents(folder) == before


@pytest.mark.parametrize("target", ["source", "source/model.bin", "link"])
def test_a_conversion_writes_to_a_new_folder_only(target, folder):
    (folder / "source").mkdir()
    (folder / "source" / "model.bin").write_text("precious")
    (folder / "link").symlink_to("source")
    for options in ((), ("--to", "huggingface")):
        assert "exists already" in run_cli("convert", "source", "-o", target, *options, code=2).stderr
    assert (folder / "source" / "model.bin").read_text() == "precious"

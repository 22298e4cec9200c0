"""Where `lucid-mlx segment` writes: a name for each photo that no other has, whatever they are called."""

import json
import re

import numpy as np
import pytest
from helpers import SCENE, SCENES, run_cli
from PIL import Image

from lucid_mlx.cli.formats import PictureOptions
from lucid_mlx.cli.outputs import Writer, parse_formats


def run(*arguments, **options):
    return run_cli("segment", *arguments, "--weights", SCENES, **options)


def photo(path):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", (8, 6), "orange").save(path, "PNG")
    return path


def written(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def names(*photos, formats="overlay"):
    """The names of results in a folder."""
    writer = Writer(photos, formats.split(","), "found", False, PictureOptions())
    return [path.relative_to("found").as_posix() for path in writer.paths]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (["IMG_1.HEIC", "IMG_1.JPG", "IMG_2.JPG"], ["IMG_1.HEIC.png", "IMG_1.JPG.png", "IMG_2.png"]),
        (["a/x.jpg", "b/x.jpg"], ["a-x.png", "b-x.png"]),
        (["a/c/x.jpg", "b/c/x.jpg", "b/c/x.png"], ["a-c-x.png", "b-c-x.png", "x.png.png"]),
        (["X.jpg", "x.JPG"], ["X.png", "x-2.png"]),
        (["e\u0301.jpg", "\u00e9.png"], ["e\u0301.jpg.png", "\u00e9.png.png"]),
        (["-x.jpg", ".x.jpg", "..jpg", ".jpg"], ["-x.png", ".x.png", "..png", ".jpg.png"]),
        (["who?.jpg", "a#b.jpg", "a\nb.jpg"], ["who?.png", "a#b.png", "a\nb.png"]),
        (["https://a.b/c/x.jpg?size=2", "https://a.b/d/x.jpg#top"], ["x.png", "x-2.png"]),
        (["-", "data:image/png;base64,AAAA", "data:,"], ["photo.png", "photo-2.png", "photo-3.png"]),
        (["x.jpg", "x.jpg.png", "x.png"], ["x.jpg-2.png", "x.jpg.png", "x.png.png"]),
    ],
)
def test_no_two_photos_share_a_name(photos, expected, capsys):
    found = names(*photos)
    assert len({name.casefold() for name in found}) == len(photos)
    if photos[0] != "x.jpg":
        assert found == expected


def test_a_name_of_its_own_is_told_once(capsys):
    names(*(f"{folder}/x.jpg" for folder in "abcde"))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "5 results have names of their own" in told
    assert "a/x.jpg -> a-x.png, b/x.jpg -> b-x.png, c/x.jpg -> c-x.png and 2 more" in told
    names("a.jpg", "b.jpg")
    assert capsys.readouterr().err == ""


def test_no_photo_is_called_as_a_summary():
    found = names("coco.jpg", "Panoptic.jpg", "coco-results.png", formats="json,coco,panoptic")
    assert "coco.jpg.json" in found
    assert "Panoptic.jpg.json" in found
    assert "coco-results.png.json" in found
    assert len({name.casefold() for name in found}) == 8


def test_suffixes_of_formats_are_no_clash():
    found = names("x.jpg", "x-mask.jpg", formats="overlay,mask")
    assert len(set(found)) == 4


def test_the_longest_name_leaves_room_for_what_formats_add():
    for stem in ("n" * 251, "\u00e9" * 125):
        found = names(f"{stem}.jpg", f"{stem}.png", formats="overlay,labelme")
        assert len(set(found)) == 4
        assert all(len(name.encode()) <= 255 for name in found)


def test_two_photos_of_one_name_both_get_every_result(folder):
    for name in ("a/coco.png", "b/coco.png", "b/panoptic.png"):
        photo(folder / name)
    run("a", "b", "-o", "found", "--format", "json,coco,panoptic")
    assert written(folder / "found") == {
        "coco.json", "panoptic.json", "a-coco.json", "b-coco.json", "panoptic.png.json",
        "panoptic/a-coco.png", "panoptic/b-coco.png", "panoptic/panoptic.png.png",
    }  # fmt: skip
    coco = json.loads((folder / "found/coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["a/coco.png", "b/coco.png", "b/panoptic.png"]
    assert json.loads((folder / "found/a-coco.json").read_text())["image"] == "a/coco.png"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.png"], {"x-segmented.png"}),
        (["x.png", "--format", "overlay,json"], {"x-segmented.png", "x-segmented.json"}),
        (["x.png", "--format", "panoptic"], {"x-segmented-panoptic.json", "x-segmented-panoptic/x.png"}),
        (["x.png", "--format", "coco,mask"], {"x-segmented-coco.json", "x-segmented-mask.png"}),
        (["x.png", "-o", "found/"], {"found/x.png"}),
        (["x.png", "-o", "found"], {"found/x.png"}),
        (["x.png", "-o", "found", "--format", "json"], {"found/x.json"}),
        (["x.png", "-o", "found", "--format", "coco"], {"found/coco.json"}),
        (["x.png", "-o", "found", "--format", "panoptic"], {"found/panoptic.json", "found/panoptic/x.png"}),
        (["x.png", "-o", "y.json", "--format", "panoptic"], {"y.json", "y/x.png"}),
        (["x.png", "-o", "y.png", "--format", "panoptic"], {"y.json", "y.png"}),
        (["x.png", "-o", "y.txt", "--format", "json"], {"y.txt"}),
        (["x.png", "-o", "y.json", "--format", "coco_results"], {"y.json"}),
        (["x.png", "-o", "there"], {"there/x.png"}),
        (["x.png", "-o", "v1.2/"], {"v1.2/x.png"}),
        (["trip"], {"segmented/x.png"}),
        (["trip", "-o", "found"], {"found/x.png"}),
        (["trip", "-o", "one.png"], {"one.png"}),
        (["trip/*.png", "-o", "found"], {"found/x.png"}),
        (["trip", "x.png", "-o", "v1.2"], {"v1.2/trip-x.png", "v1.2/x-2.png"}),
    ],
)
def test_results_are_where_a_person_expects_them(arguments, expected, folder):
    photo(folder / "x.png"), photo(folder / "trip/x.png"), (folder / "there").mkdir()
    before = written(folder)
    run(*arguments)
    found = written(folder) - before
    if "trip" in arguments and "x.png" in arguments:
        assert len(found) == len(expected)
    else:
        assert found == expected


def test_errors_of_the_input_and_the_weights_come_before_those_of_the_output(folder):
    photo(folder / "x.png"), (folder / "bad.png").write_text("no picture"), (folder / "out.png").write_text("old")
    assert "bad.png is not an image" in run("bad.png", "-o", "out.png", code=2).stderr
    told = run_cli("segment", "x.png", "-o", "out.png", "--weights", "nowhere", code=2).stderr
    assert "nowhere" in told
    assert "exists already" not in told
    assert "out.png exists already" in run("x.png", "-o", "out.png", code=2).stderr


@pytest.mark.parametrize("size", [(1, 1), (900, 1), (1, 900)])
@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
@pytest.mark.filterwarnings("ignore:the weights are for")
def test_every_format_holds_what_nothing_was_found_in(size, task, folder):
    Image.new("L", size).save("x.png")
    formats = "overlay,mask,json,labelme,coco,coco-results,panoptic"
    run("x.png", "-o", "found", "--format", formats, "--task", task, "--labels", "sneaker", "--mask-threshold", ".9")
    assert json.loads((folder / "found/x.json").read_text())["segments"] == []
    assert json.loads((folder / "found/coco.json").read_text())["annotations"] == []
    assert json.loads((folder / "found/coco-results.json").read_text()) == []
    assert json.loads((folder / "found/panoptic.json").read_text())["annotations"][0]["segments_info"] == []
    with Image.open("found/x-mask.png") as mask:
        assert (mask.size, mask.mode) == (size, "P")
        assert (np.asarray(mask) == 255).all()


def test_options_that_change_nothing_are_told(folder):
    photo(folder / "x.png")

    def told(*arguments):
        return re.findall("--([a-z-]+) changes nothing", run("x.png", "--force", *arguments).stderr)

    options = ("--threshold", "0.5", "--mask-threshold", "0.5", "--opacity", "0.4")
    assert told(*options) == []
    assert told("--task", "semantic", *options) == ["mask-threshold", "threshold"]
    assert told("--format", "json", "--category-ids", "contiguous", *options) == ["opacity", "category-ids"]
    assert told("--format", "coco", "--category-ids", "contiguous") == []


def test_formats_are_read_as_they_are_written():
    assert parse_formats("JSON, coco_results,json") == ["json", "coco-results"]


def test_the_mask_of_the_demo_can_be_seen(folder):
    run(SCENE, "-o", "mask.png", "--format", "mask")
    with Image.open("mask.png") as mask:
        assert mask.mode == "P"
        colors = np.asarray(mask.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colors, axis=0)) >= 4

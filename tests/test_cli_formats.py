"""The formats of `lucid-mlx segment` for other tools, and its cut-outs."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import SCENE, SCENES, run_cli
from PIL import Image

from lucid_mlx import Segmentation, Segmenter
from lucid_mlx.cli.formats import CUTOUTS, FORMATS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def result():
    return Segmenter(SCENES)(SCENE)


def run(*arguments, photo=SCENE, **options):
    return run_cli("segment", photo, "--weights", SCENES, *arguments, **options)


def picture(path):
    with Image.open(path) as image:
        return np.array(image)


def test_all_formats_at_once_are_those_of_the_methods(folder, result):
    run("-o", "out/", "--format", ",".join(FORMATS), "--feather", "0", "--background", "#ff8800", "--blur", "2")
    out = folder / "out"
    things = result.only([one for one in result.segments if one.label_id in Segmenter(SCENES).thing_ids])
    assert 0 < len(things.segments) < len(result.segments)
    assert np.array_equal(picture(out / "scene-cutout.png"), things.cutout())
    assert np.array_equal(picture(out / "scene-matte.png"), things.matte())
    assert np.array_equal(picture(out / "scene-blur-background.png"), things.blur_background(2))
    assert np.array_equal(picture(out / "scene-replace-background.png"), things.replace_background("#ff8800"))
    assert json.loads((out / "scene.geojson").read_text()) == json.loads(json.dumps(result.to_geojson()))
    assert (out / "scene.txt").read_text() == result.to_yolo()
    assert (out / "segments.csv").read_text() == result.to_csv()
    loaded = Segmentation.load(out / "scene-result.json")
    assert loaded.segments == result.segments
    assert np.array_equal(loaded.map, result.map)
    assert loaded.thresholds == result.thresholds


def test_labels_choose_what_is_cut_out(result):
    told = run("-o", "x.png", "--format", "matte", "--feather", "0", "--labels", "coat")
    assert "--labels" not in told.stderr
    assert np.array_equal(picture("x.png"), result.only("coat").matte())
    told = run("-o", "y.png", "--format", "matte")
    assert "matte: of every object, and no stuff such as sky; --labels chooses" in told.stderr


def test_edges_are_soft_by_default(result):
    run("-o", "x.png", "--format", "cutout", "--labels", "coat")
    assert np.array_equal(picture("x.png"), result.only("coat").cutout(feather=1))


def test_a_picture_may_be_put_behind(result):
    Image.new("RGB", (7, 9), "blue").save("sea.png")
    run("-o", "x.png", "--format", "replace-background", "--background", "sea.png", "--labels", "coat")
    assert (picture("x.png")[-1, 0] == [0, 0, 255]).all()
    told = run("-o", "sea.png", "--format", "replace-background", "--background", "sea.png", "--force", code=2)
    assert "sea.png is also an input" in told.stderr


def test_one_table_holds_all_photos(folder):
    (folder / "trip").mkdir()
    for name in "ab":
        (folder / "trip" / f"{name}.png").write_bytes(SCENE.read_bytes())
    run("-o", "out", "--format", "csv,yolo", photo="trip")
    rows = list(csv.DictReader(io.StringIO((folder / "out" / "segments.csv").read_text())))
    assert {row["image"] for row in rows} == {"trip/a.png", "trip/b.png"}
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.txt", "b.txt", "segments.csv"]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_of_a_photo_that_is_named_alone_has_a_file_of_its_own(format, folder):
    run("--format", format)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    assert all(name.startswith("scene-segmented") for name in names)
    assert len(names) == (2 if format == "panoptic" else 1)


def test_standard_output(result):
    told = run("-o", "-", "--format", "csv")
    assert [row["label"] for row in csv.DictReader(io.StringIO(told.stdout))] == [
        segment.label for segment in result.segments
    ]
    cut = Image.open(io.BytesIO(run("-o", "-", "--format", "cutout").stdout_bytes))
    assert (cut.format, cut.mode) == ("PNG", "RGBA")


def test_categories_from_one():
    files = {}
    for choice in ("contiguous", "from-one"):
        run("-o", f"{choice}.json", "--format", "coco", "--category-ids", choice)
        files[choice] = json.loads(Path(f"{choice}.json").read_text())
    for part, key in (("categories", "id"), ("annotations", "category_id")):
        before, after = ([one[key] for one in files[choice][part]] for choice in ("contiguous", "from-one"))
        assert after == [number + 1 for number in before]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "x.jpg", "--format", "cutout"), "x.jpg would lose the transparency of a cutout; expected a suffix"),
        (
            ("-o", "x.png", "--format", "geojson"),
            "x.png names a picture, and geojson is text; expected a suffix like .g",
        ),
        (("-o", "x.png", "--format", "yolo"), "expected a suffix like .txt"),
        (("-o", "x.png", "--format", "csv"), "csv is text; expected a suffix like .csv"),
        (("-o", "x.txt", "--format", "yolo,json"), "x.txt looks like one file"),
        (("-o", "x.txt", "--format", "matte"), "x.txt does not name an image format, which matte needs"),
        (("--format", "cut-out"), "there is no format 'cut-out'; did you mean cutout?"),
        (
            ("--format", "replace-background", "--background", "nocolor"),
            "--background must be a color, such as white or #ff8800, or a picture: nocolor does not exist",
        ),
    ],
)
def test_what_cannot_be_is_told(arguments, message, folder):
    assert message in run(*arguments, code=2).stderr
    assert list(folder.iterdir()) == []


def test_options_without_their_format_are_told():
    told = run("-o", "x.png", "--blur", "3", "--feather", "2", "--background", "red").stderr
    assert "--blur changes nothing without the format blur-background" in told
    assert "--background changes nothing without the format replace-background" in told
    assert f"--feather changes nothing without one of the formats {', '.join(CUTOUTS)}" in told

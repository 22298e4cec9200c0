"""`lucid-mlx segment` with many photos, formats and places."""

import io
import json
import warnings

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, run_cli, small_config
from PIL import Image
from pycocotools import mask as coco_mask

from lucid_mlx.datasets import dataset_classes
from lucid_mlx.models import Mask2Former
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:1 skipped, by their names no pictures")


def run(*arguments, **options):
    return run_cli("segment", *arguments, **options)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trip").mkdir()
    with Image.open(PHOTO) as photo:
        photo.resize((60, 40)).save(tmp_path / "trip" / "a.png")
        photo.resize((40, 60)).save(tmp_path / "trip" / "b.jpg")
    (tmp_path / "trip" / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.fixture
def weights(folder):
    """A network that is told to have been trained for panoptic segmentation of Cityscapes."""
    mx.random.seed(1)
    model = Mask2Former(small_config(num_labels=19, init_std=1.0))
    model.config.id2label = {i: entry.name for i, entry in enumerate(dataset_classes("cityscapes_panoptic"))}
    image_config = {"size": {"height": 64, "width": 64}}
    write_checkpoint(
        folder / "weights",
        model.config.to_dict(),
        named_parameters(model),
        {"dataset": "cityscapes_panoptic", "source": "mine"},
        image_config,
    )
    return folder / "weights"


EASY = ("--threshold", "0", "--task", "panoptic")


def test_a_folder_is_segmented_into_a_folder(weights, folder):
    result = run("trip", "--weights", weights, "-o", "out", *EASY)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png"]
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["trip/a.png", "trip/b.jpg"]
    assert "panoptic segmentation in float" in result.stderr


def test_patterns_are_opened_up(weights, folder):
    run("trip/*.png", "trip/b.jpg", "--weights", weights, "-o", "out", *EASY, "--batch-size", "2")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png"]


def test_every_format_is_written_and_agrees_with_the_others(weights, folder):
    run("trip", "--weights", weights, "-o", "out", *EASY, "--format", "overlay,mask,coco,json,panoptic,labelme")
    names = {path.name for path in (folder / "out").iterdir()}
    each = {f"{stem}{end}" for stem in "ab" for end in (".png", "-mask.png", ".json", "-labelme.json")}
    assert names == each | {"coco.json", "panoptic.json", "panoptic"}
    told = json.loads((folder / "out" / "a.json").read_text())
    assert (told["task"], told["width"], told["height"], told["image"]) == ("panoptic", 60, 40, "trip/a.png")
    assert told["segments"]
    coco = json.loads((folder / "out" / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["a.png", "b.jpg"]
    assert {entry["name"] for entry in coco["categories"]} >= {"road", "person"}
    mine = [entry for entry in coco["annotations"] if entry["image_id"] == 1]
    assert [entry["area"] for entry in mine] == [segment["area"] for segment in told["segments"]]
    assert [int(coco_mask.area(entry["segmentation"])) for entry in mine] == [entry["area"] for entry in mine]
    assert len({entry["id"] for entry in coco["annotations"]}) == len(coco["annotations"])
    mask = np.asarray(Image.open(folder / "out" / "a-mask.png"))
    colors = np.asarray(Image.open(folder / "out" / "panoptic" / "a.png")).astype(int) @ [1, 256, 65536]
    assert np.array_equal(np.where(mask == 255, 0, mask), colors)
    panoptic = json.loads((folder / "out" / "panoptic.json").read_text())
    assert panoptic["annotations"][0]["file_name"] == "a.png"
    assert {part["id"] for part in panoptic["annotations"][0]["segments_info"]} == set(np.unique(colors)) - {0}


def test_json_leaves_through_standard_output_alone(weights):
    result = run("trip", "--weights", weights, "-o", "-", "--format", "json", *EASY)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["image"] for line in lines] == ["trip/a.png", "trip/b.jpg"]
    coco = json.loads(run("trip", "--weights", weights, "-o", "-", "--format", "coco", *EASY).stdout)
    assert len(coco["images"]) == 2


def test_a_photo_comes_from_standard_input_and_leaves_through_standard_output(weights):
    result = run("-", "--weights", weights, "-o", "-", *EASY, input=PHOTO.read_bytes())
    with Image.open(io.BytesIO(result.stdout_bytes)) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 600


def test_labels_are_kept_by_name(weights):
    def labels(*options):
        place = ("-o", "-", "--format", "json", "--threshold", "0", "--task", "instance")
        told = json.loads(run("trip/a.png", "--weights", weights, *place, *options).stdout)
        return [segment["label"] for segment in told["segments"]]

    everything = labels()
    assert len(set(everything)) > 1
    assert labels("--labels", everything[0]) == [label for label in everything if label == everything[0]]
    result = run("trip/a.png", "--weights", weights, "--labels", "persn", code=2)
    assert "there is no class 'persn'; did you mean 'person'" in result.stderr


def test_the_size_that_is_asked_for_is_told(weights):
    assert "size 96x64, as asked" in run("trip/a.png", "--weights", weights, "--size", "96x64").stderr
    assert "is no size" in run("trip/a.png", "--weights", weights, "--size", "big", code=2).stderr


def test_a_photo_that_cannot_be_read_does_not_stop_the_others(weights, folder):
    (folder / "trip" / "c.png").write_text("broken")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run("trip", "trip/none.png", "--weights", weights, "-o", "out", *EASY, code=2)
    told = "skipped 2 of 4 images: trip/c.png is not an image that Pillow can read; trip/none.png does not exist"
    assert f"warning: {told}" in result.stderr
    assert "2 photos segmented, 2 of 4 photos could not be read" in result.stderr
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "the folder empty holds no pictures"),
        (["nothing/*.jpg"], r"no file matches nothing/*.jpg"),
        (["trip", "-o", "out.png"], "need a folder"),
        (["trip", "-o", "-"], "standard output takes one format"),
        (["trip/a.png", "-o", "-", "--format", "json,coco"], "standard output takes one format"),
        (["trip/a.png", "--format", "pdf"], "there is no format 'pdf'; expected one or more of overlay"),
        (["trip/a.png", "--format", "ovrlay"], "there is no format 'ovrlay'; did you mean overlay? Expected one or"),
        (["trip/a.png", "-o", "-", "--format", "panoptic"], "panoptic is a PNG and a JSON file; give a folder"),
        (["trip/a.png", "-o", "a.jpg", "--format", "mask"], "a.jpg would change the ids of a mask; expected a suffix"),
        (["trip/a.png", "-o", "a.png", "--format", "json"], "a.png names a picture, and json is text"),
        (["trip/a.png", "-o", "trip/notes"], "--weights is missing"),
        (["trip", "-o", "trip/a.png", "--format", "json"], "looks like one file; several photos or formats need a"),
        (["trip/a.png", "--threshold", "1.5"], "not in the range 0<=x<=1"),
        (["trip/a.png", "--task", "counting"], "'counting' is not one of"),
        (["trip", "-o", "nowhere/out"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(arguments, message, folder):
    (folder / "empty").mkdir()
    before = sorted(folder.rglob("*"))
    assert message in run(*arguments, code=2).stderr
    assert sorted(folder.rglob("*")) == before


def test_nothing_is_overwritten_without_force(weights, folder):
    (folder / "out").mkdir()
    (folder / "out" / "coco.json").write_text("precious")
    arguments = ("trip", "--weights", weights, "-o", "out", "--format", "coco", *EASY)
    assert "coco.json exists already" in run(*arguments, code=2).stderr
    assert (folder / "out" / "coco.json").read_text() == "precious"
    run(*arguments, "--force")
    assert json.loads((folder / "out" / "coco.json").read_text())["images"]


def test_a_task_that_the_weights_were_not_trained_for_is_warned_of(weights, folder):
    config = json.loads((weights / "config.json").read_text())
    arrays = read_checkpoint(weights).arrays
    write_checkpoint(folder / "semantic", config, arrays, {"dataset": "cityscapes_semantic"}, {})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        told = run("trip/a.png", "--weights", "semantic", "--task", "instance", "--size", "64").stderr
    assert "warning: the weights are for semantic segmentation" in told


@pytest.mark.parametrize("name", ["./trip/a.png", "trip//a.png", "trip/../trip/a.png"])
def test_one_photo_lands_here_however_its_path_is_spelled(weights, folder, name):
    run(name, "--weights", weights)
    assert (folder / "a-segmented.png").is_file()
    assert not (folder / "segmented").exists()


def test_one_photo_of_a_folder_lands_in_a_folder(weights, folder):
    (folder / "trip" / "b.jpg").unlink()
    run("trip", "--weights", weights)
    assert (folder / "segmented" / "a.png").is_file()


def test_the_line_of_a_photo_names_only_the_labels_that_are_kept(weights):
    options = ("--weights", weights, "--task", "semantic", "--force")
    assert "building" in run("trip/a.png", *options).stdout
    assert "building" in run("trip/a.png", *options, "--labels", "building,road").stdout
    assert "nothing found" in run("trip/a.png", *options, "--labels", "road").stdout


@pytest.mark.parametrize(
    ("output", "message"),
    [("v1.0", "-o v1.0/ for a folder"), ("out.json", "another --format"), ("", "--output is empty")],
)
def test_an_output_that_fits_no_picture_says_what_does(weights, output, message):
    assert message in run("trip/a.png", "--weights", weights, "-o", output, code=2).output


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_photos_without_an_object_that_is_sure_are_told(weights, folder, task):
    def note(*arguments):
        result = run(*arguments, "--weights", weights, "--task", task)
        return [line for line in result.stderr.splitlines() if line.startswith("note: no object")]

    told = "note: no object with a score above 0.9999 was found{}; a lower --threshold shows what is less sure"
    assert note("trip", "-o", "out", "--threshold", "0.9999") == [told.format(" in 2 of 2 photos")]
    assert note("trip/a.png", "--threshold", "0.9999") == [told.format("")]
    assert note("trip", "-o", "easy", "--threshold", "0") == []
    assert note("trip", "-o", "sky", "--threshold", "0.9999", "--labels", "sky") == []  # who wants no object

"""`lucid-mlx segment` with large photos, whole trees of folders, runs that are continued, and several processes."""

import json
import warnings

import numpy as np
import pytest
from helpers import PHOTO, SCENES, run_cli
from PIL import Image

from lucid_mlx import Segmenter, segment_tiled
from lucid_mlx.cli import outputs, photos


def run(*arguments, **options):
    return run_cli("segment", *arguments, "--weights", SCENES, **options)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Image.open(PHOTO) as photo:
        for name, size in (("a", (60, 40)), ("2024/b", (40, 60)), ("2024/may/c", (50, 50)), (".hidden/d", (40, 40))):
            path = tmp_path / "trip" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.resize(size).save(path)
    return tmp_path


def written(folder, name="out"):
    return sorted(path.name for path in (folder / name).iterdir())


class TestTiles:
    def test_they_give_what_python_gives(self, folder):
        with Image.open(PHOTO) as photo:
            photo.resize((300, 200)).save("large.png")
        run("large.png", "--tile", "128", "--overlap", "32", "--task", "semantic", "--format", "mask", "-o", "mask.png")
        expected = segment_tiled(Segmenter(SCENES, "semantic"), "large.png", tile=128, overlap=32)
        with Image.open("mask.png") as mask:
            assert np.array_equal(np.asarray(mask), expected.map)
        assert expected.name == "large.png"

    def test_a_large_overlay_is_that_of_a_small_one(self, folder, monkeypatch):
        run("trip/a.png", "--tile", "32", "--overlap", "16", "-o", "small.png")
        with Image.open(PHOTO) as photo:
            photo.resize((600, 400)).save("large.png")
        run("large.png", "--tile", "128", "--overlap", "32", "-o", "whole.png")
        monkeypatch.setattr(outputs, "MAX_PIXELS_AT_ONCE", 1000)
        run("large.png", "--tile", "128", "--overlap", "32", "-o", "strips.png")
        with Image.open("whole.png") as whole, Image.open("strips.png") as strips:
            assert np.array_equal(np.asarray(whole), np.asarray(strips))

    def test_what_cannot_be_read_does_not_stop_the_others(self, folder):
        (folder / "trip" / "broken.png").write_bytes(b"no picture")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            told = run("trip", "--recursive", "--tile", "32", "--overlap", "16", "-o", "out", code=2).stderr
        assert "skipped 1 of 4 images: trip/broken.png is not an image that Pillow can read" in told
        assert "3 photos segmented, 1 of 4 photos could not be read" in told
        assert written(folder) == ["a.png", "b.png", "c.png"]

    def test_too_much_overlap_is_told(self):
        told = run("trip/a.png", "--tile", "100", code=2).stderr
        assert "tiles of 100 pixels overlap by at most half of that, got 128" in told

    def test_overlap_alone_changes_nothing(self):
        assert "--overlap changes nothing without --tile" in run("trip/a.png", "--overlap", "64").stderr


class TestFolders:
    def test_they_are_searched_if_asked_and_hidden_ones_are_not(self, folder):
        run("trip", "--recursive", "-o", "out")
        assert written(folder) == ["a.png", "b.png", "c.png"]

    def test_results_are_no_photos_of_the_next_run(self, folder):
        run("trip", "--recursive", "-o", "trip/out")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            told = run("trip", "--recursive", "-o", "trip/out", "--force").stderr
        assert "the folder trip/out skipped, which is for the results" in told
        assert written(folder, "trip/out") == ["a.png", "b.png", "c.png"]

    def test_without_it_a_folder_of_folders_says_what_to_do(self, folder):
        (folder / "trip" / "a.png").unlink()
        assert "its folders are not searched, but --recursive does that" in run("trip", code=2).stderr


class TestSkipExisting:
    def test_what_is_there_stays_and_the_rest_is_made(self, folder):
        (folder / "out").mkdir()
        (folder / "out" / "b.png").write_text("mine")
        told = run("trip", "--recursive", "-o", "out", "--skip-existing").stderr
        assert "1 skipped, whose results exist: trip/2024/b.png" in told
        assert (folder / "out" / "b.png").read_text() == "mine"
        assert written(folder) == ["a.png", "b.png", "c.png"]
        assert "3 skipped" in run("trip", "--recursive", "-o", "out", "--skip-existing").stderr

    def test_a_photo_of_which_a_file_is_missing_is_told_to_be_half_there(self, folder):
        (folder / "out").mkdir()
        (folder / "out" / "a.png").write_text("mine")
        told = run("trip/a.png", "-o", "out", "--format", "overlay,json", "--skip-existing", code=2).stderr
        assert "a.png exists already" in told
        assert (folder / "out" / "a.png").read_text() == "mine"

    def test_one_file_for_all_does_not_go_with_it(self):
        told = run("trip", "--recursive", "--format", "overlay,coco", "--skip-existing", code=2).stderr
        assert "with --skip-existing each photo needs files of its own; expected formats of overlay, mask" in told

    def test_force_does_not_go_with_it(self):
        assert "give one" in run("trip", "--force", "--skip-existing", code=2).stderr


def test_top_k_limits_the_instances():
    def count(*options):
        options = ("--task", "instance", "--threshold", "0", "--format", "json", "-o", "-", *options)
        return len(json.loads(run("trip/a.png", *options).stdout)["segments"])

    assert count("--top-k", "2") <= 2 < count()
    assert "--top-k changes nothing but the number of instances" in run("trip/a.png", "--top-k", "2").stderr


class Group:
    """A process of a distributed run."""

    def __init__(self, rank, size):
        self.rank, self.size = (lambda: rank), (lambda: size)


class TestProcesses:
    def test_each_takes_its_share(self, folder, monkeypatch):
        for rank in range(2):
            monkeypatch.setattr(photos.mx.distributed, "init", lambda rank=rank: Group(rank, 2))
            told = run("trip", "--recursive", "-o", "out").stderr
            assert f"process {rank + 1} of 2: {2 - rank} of 3 photos" in told
        assert written(folder) == ["a.png", "b.png", "c.png"]

    def test_one_that_has_none_is_content(self, folder, monkeypatch):
        monkeypatch.setattr(photos.mx.distributed, "init", lambda: Group(1, 2))
        run("trip/a.png", "-o", "out/")
        assert not (folder / "out").exists()

    def test_one_file_for_all_is_refused(self, monkeypatch):
        monkeypatch.setattr(photos.mx.distributed, "init", lambda: Group(0, 2))
        told = run("trip", "--recursive", "--format", "csv", code=2).stderr
        assert "under mlx.launch each photo needs files of its own" in told

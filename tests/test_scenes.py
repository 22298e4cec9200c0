"""The scenes of garments: each can be made again, and its labels are exact and the same in all formats."""

import pickle
import runpy
import sys

import numpy as np
import pytest
from helpers import PHOTO
from labeled import load_scenes, write_garments
from PIL import Image
from scipy import ndimage

from lucid_mlx import InputError
from lucid_mlx.data import coco_dataset, open_dataset, validate

scenes = load_scenes()


@pytest.fixture(scope="module")
def garments(tmp_path_factory):
    return write_garments(tmp_path_factory.mktemp("garments"))


@pytest.fixture(scope="module")
def written(tmp_path_factory, garments):
    out = tmp_path_factory.mktemp("scenes") / "out"
    scenes.write(out, "test", 6, seed=3, size=96, folder=garments)
    return out


def test_a_scene_is_a_function_of_split_number_and_seed(garments):
    one = scenes.scene("train", 5, 1, 64, garments)
    scenes.scene.cache_clear()
    scenes.scene("train", 4, 1, 64, garments)
    again = scenes.scene("train", 5, 1, 64, garments)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.segments, again.segments)
    for other in (("train", 6, 1), ("train", 5, 2), ("test", 5, 1)):
        assert not np.array_equal(one.image, scenes.scene(*other, 64, garments).image)


def test_every_segment_is_visible_and_every_pixel_has_one(garments):
    counts = []
    for index in range(40):
        made = scenes.scene("test", index, 0, 96, garments)
        areas = np.bincount(made.segments.ravel(), minlength=len(made.class_ids) + 1)
        assert areas[0] == 0
        assert len(areas) == len(made.class_ids) + 1
        assert areas[1:].min() >= scenes.MIN_VISIBLE_PIXELS
        grounds = [class_id for class_id in made.class_ids if class_id >= len(scenes.GARMENTS)]
        assert 1 <= len(set(grounds)) == len(grounds) <= 2
        counts.append(len(made.class_ids) - len(grounds))
    assert (min(counts), max(counts)) == (1, 8)


def test_scenes_can_have_a_minimum_of_garments(garments):
    def count(**options):
        made = [scenes.scene("train", index, 0, 128, garments, **options) for index in range(20)]
        return [sum(class_id < len(scenes.GARMENTS) for class_id in scene.class_ids) for scene in made]

    assert min(count()) < 4
    assert min(count(min_garments=6)) >= 4  # there is not always room
    assert np.mean(count(min_garments=6)) > 6


def test_a_split_has_its_own_garments(garments, monkeypatch):
    seen = []
    original = scenes._garment
    monkeypatch.setattr(scenes, "_garment", lambda photo, *others: seen.append(photo.max()) or original(photo, *others))
    scenes.scene("train", 1000, 0, 64, garments)
    assert set(seen) == {230}
    seen.clear()
    scenes.scene("test", 1000, 0, 64, garments)
    assert set(seen) == {120}


def test_holes_in_a_garment_are_part_of_it(garments):
    photo, _ = scenes.garments("train", garments)
    rng = np.random.default_rng(1)
    for _ in range(5):
        _, alpha, _ = scenes._garment(photo[0], np.ones(3, np.float32), rng, 200)
        mask = alpha > 127
        rows, columns = np.nonzero(mask)
        middle = mask[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2]
        assert middle
        assert mask.mean() > 0.2


def test_the_labels_are_where_the_garments_were_painted(garments, monkeypatch):
    monkeypatch.setattr(scenes, "_ground", lambda rng, size: (
        np.zeros((size, size, 3), np.float32), np.ones((size, size), np.int32), (len(scenes.GARMENTS),)
    ))  # fmt: skip
    scenes.scene.cache_clear()
    made = scenes.scene("train", 3, 9, 96, garments)
    scenes.scene.cache_clear()
    painted, garment = made.image.max(axis=-1) > 15, made.segments > 1  # on a black ground, with noise
    assert painted[garment].mean() > 0.995
    assert not painted[~ndimage.binary_dilation(garment, iterations=2)].any()


@pytest.mark.filterwarnings("ignore:.*classes never occur in the labels")
def test_the_three_formats_agree_with_the_dataset_without_files(written, garments):
    panoptic = coco_dataset(written / "images", written / "panoptic.json")
    instances = coco_dataset(written / "images", written / "instances.json")
    semantic = open_dataset(written / "images", written / "semantic", class_names=written / "names.txt")
    for dataset, names in (
        (panoptic, scenes.CLASS_NAMES),
        (instances, scenes.GARMENTS),
        (semantic, scenes.CLASS_NAMES),
    ):
        validate(dataset)
        live = scenes.fashion_scenes("test", 6, dataset.task, seed=3, size=96, folder=garments)
        assert (live.task, live.class_names) == (dataset.task, names) == (dataset.task, dataset.class_names)
        assert dataset.thing_ids == (live.thing_ids if dataset.task != "semantic" else frozenset())
        validate(live)
        for made, read in zip(live.records, dataset.records, strict=True):
            assert np.array_equal(made.image(), read.image())
            ours, theirs = made.target(), read.target()
            assert np.array_equal(ours.masks, theirs.masks)
            assert ours.class_ids.tolist() == theirs.class_ids.tolist()
            assert ours.areas.tolist() == theirs.areas.tolist()
    for record, other in zip(panoptic.records, semantic.records, strict=True):
        assert np.array_equal(record.target().class_map(), other.target().class_map())


def test_records_have_negative_indices_and_can_be_pickled(garments):
    dataset = scenes.fashion_scenes("test", 10, size=64, folder=garments)
    assert (len(dataset.records), dataset.records[-1].name, len(dataset.records[:3])) == (10, "test scene 9", 3)
    assert dataset.records[2] == pickle.loads(pickle.dumps(dataset.records[2]))
    with pytest.raises(IndexError):
        dataset.records[10]


def test_the_command_writes_a_new_folder(tmp_path, garments, monkeypatch, capsys):
    script = str(PHOTO.parent / "fashion_scenes.py")
    out = tmp_path / "out"
    command = ["fashion_scenes.py", str(out), "--count", "2", "--size", "64", "--garments", str(garments)]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_path(script, run_name="__main__")
    assert "2 scenes -> " in capsys.readouterr().out
    with Image.open(out / "images" / "000001.png") as picture:
        assert picture.size == (64, 64)
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name="__main__")
    assert "out exists already" in capsys.readouterr().err


def test_the_error_for_missing_photos_says_what_to_install(tmp_path):
    with pytest.raises(InputError, match="install Debian's package dataset-fashion-mnist"):
        scenes.fashion_scenes("test", 3, folder=tmp_path)
    with pytest.raises(InputError, match="split must be train or test"):
        scenes.fashion_scenes("val", 3, folder=tmp_path)

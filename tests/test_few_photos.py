"""The two small sets of photos that show what few photos are worth: what is in them can be trained on."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucid_mlx.training import read_config

SCRIPT = Path(__file__).parents[1] / "docs" / "few_photos.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("few_photos", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PHOTOS", {"train": 5, "validation": 10})
    return module


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def people(script, tmp_path):
    """A folder as that of the photos of people: the upper half is of a class that is left out, the lower of another."""
    folder = tmp_path / "source"
    names = ["tie", *(name for theirs in script.PEOPLE.values() for name in theirs)]
    for number in range(16):
        picture(folder / f"images/{number}.jpg", np.zeros((40, 30, 3), np.uint8))
        picture(folder / f"labels/{number}.png", np.repeat(np.uint8([0, number + 1]), 600).reshape(40, 30))
    (folder / "names.txt").write_text("\n".join(names))
    (folder / "train.txt").write_text("\n".join(map(str, range(16))))
    return folder


@pytest.fixture
def garments(script, tmp_path):
    """A folder as that of the photos of garments, three of each kind and one that is kept for a test."""
    folder = tmp_path / "source"
    rows = [(f"{label}{number}", label, "train") for label in (*script.GARMENTS, "Body") for number in range(3)]
    rows.append(("kept", script.GARMENTS[0], "val"))
    for name, *_ in rows:
        picture(folder / f"images/{name}.jpg", np.zeros((40, 30, 3), np.uint8))
        picture(folder / f"masks/{name}.png", np.repeat(np.uint8([0, 255]), 600).reshape(40, 30))
    with (folder / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "split"), *rows])
    return folder


@pytest.mark.filterwarnings("ignore:1 of 39 classes are in none:UserWarning")
@pytest.mark.parametrize("kind", ["people", "garments"])
def test_each_set_can_be_trained_on(script, kind, request, tmp_path):
    source, folder = request.getfixturevalue(kind), tmp_path / "few"
    getattr(script, kind)(source, folder, tmp_path / "backbone")
    config = read_config(folder / "train.toml")
    train, validation = config.train.open(), config.validation.open()
    assert (len(train.records), len(validation.records)) == (5, 10)
    assert not {record.name for record in train.records} & {record.name for record in validation.records}
    expected = script.PEOPLE if kind == "people" else ("background", *script.GARMENTS)
    assert list(train.class_names) == list(expected)
    shares = [np.bincount(record.target().class_map().ravel() + 1, minlength=7)[:7] for record in train.records]
    if kind == "people":  # the ties have no label
        assert [counts[0] for counts in shares] == [600] * 5
    else:  # one of each kind, on a background
        assert [counts[1] for counts in shares] == [600] * 5
        assert np.array_equal(np.sum(shares, 0)[2:], [600] * 5)

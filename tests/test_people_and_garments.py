"""The training data of people and garments: whole photos and pasted ones, with labels that agree with the pixels."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lucid_mlx.data import open_dataset, validate

SCRIPT = Path(__file__).parents[1] / "examples" / "people_and_garments.py"
SPLITS = ("train", "validation-people", "validation-garments", "test-people", "test-garments")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("people_and_garments", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def photo(path, rng, size=(60, 90)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


def labels(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory, script):
    """Folders as the two sets of photos have them: a person with hair, a coat, shoes and a tie; a garment."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("sources")
    people, garments = root / "people", root / "garments"
    names = ["background", "hair", "coat", "boots", "tie"]
    for number in range(8):
        photo(people / f"images/{number}.jpg", rng)
        person = np.zeros((90, 60), np.uint8)
        person[10:20, 20:40], person[20:60, 15:45], person[80:88, 20:40], person[25:40, 28:32] = 1, 2, 3, 4
        labels(people / f"labels/{number}.png", person if number else np.zeros_like(person))
    (people / "names.txt").write_text("\n".join(names))
    (people / "train.txt").write_text("\n".join("012345"))
    (people / "val.txt").write_text("6\n7\n")
    rows = [("Hat", "train")] * 3 + [("Pants", "train")] * 4 + [("Body", "train"), ("Polo", "val")]
    with (root / "photos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "split"])
        for number, row in enumerate(rows):
            name = f"{number:08}" if number else script.WRONG_MASKS[0]
            photo(garments / f"images/{name}.jpg", rng, (48, 64))
            mask = np.zeros((64, 48), bool)
            mask[10:50, 10:40] = True
            labels(garments / f"masks/{name}.png", mask)
            writer.writerow([name, *row])
    (root / "photos.csv").rename(garments / "photos.csv")
    return people, garments


def run(script, monkeypatch, sources, out, *options):
    monkeypatch.setattr(script, "VALIDATION_PEOPLE", 1)
    monkeypatch.setattr(script, "VALIDATION_GARMENTS", 3)
    monkeypatch.setattr(sys, "argv", ["people_and_garments.py", *map(str, (*sources, out, *options))])
    script.main()
    return out


def segments(folder):
    """The segments of each image by its file: their ids in the PNG, and what the JSON says of them."""
    content = json.loads((folder / "panoptic.json").read_text())
    for entry in content["annotations"]:
        rgb = np.asarray(Image.open(folder / "panoptic" / entry["file_name"])).astype(int)
        yield entry, rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def test_all_photos_go_to_one_split_and_what_is_left_out_is_told(script, monkeypatch, sources, tmp_path, capsys):
    out = run(script, monkeypatch, sources, tmp_path / "out", "--scenes", 4)
    told = capsys.readouterr().out
    assert "6 photos of people of split train; left out: 1 without a person" in told
    assert "8 photos of garments of split train; left out: 1 of other classes, 1 with a wrong mask" in told
    files = {split: {x.name for x in (out / split / "images").iterdir()} for split in SPLITS}
    assert {split: len(names) for split, names in files.items()} == dict(zip(SPLITS, (12, 1, 2, 2, 1), strict=True))
    assert len(set.union(*files.values())) == 18
    assert files["test-people"] == {"person_6.jpg", "person_7.jpg"}
    for split in SPLITS:
        dataset = open_dataset(out / split / "images", out / split / "panoptic.json")
        assert len(dataset.thing_ids) == 16
        with pytest.warns(UserWarning, match="of 19 classes never occur"):
            validate(dataset)
        people = [name for name in (Path(record.name).name for record in dataset.records) if name.startswith("person")]
        times = script.PEOPLE_TIMES if split == "train" else 1
        assert len(people) == times * len(set(people))


def test_labels_agree_with_the_pixels(script, monkeypatch, sources, tmp_path):
    out = run(script, monkeypatch, sources, tmp_path / "out", "--scenes", 12)
    most = 0
    for split in SPLITS:
        for entry, ids in segments(out / split):
            areas = dict(zip(*np.unique(ids, return_counts=True), strict=True))
            areas.pop(0, None)  # no label
            assert areas == {info["id"]: info["area"] for info in entry["segments_info"]}
            stuff = [i["category_id"] for i in entry["segments_info"] if i["category_id"] <= len(script.STUFF)]
            assert len(set(stuff)) == len(stuff)
            most = max(most, len(entry["segments_info"]) - len(stuff))
    assert most >= 4  # garments of several photos
    entry, ids = next(segments(out / "test-people"))
    classes = {script.NAMES[info["category_id"] - 1] for info in entry["segments_info"]}
    assert classes == {"background", "hair", "coat", "shoes"}
    assert (ids[25:40, 28:32] == 0).all()  # a tie is none of the classes


def test_the_same_seed_makes_the_same_files(script, monkeypatch, sources, tmp_path):
    one, again, other = (
        run(script, monkeypatch, sources, tmp_path / name, "--scenes", 3, "--seed", seed)
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert all((one / path).read_bytes() == (again / path).read_bytes() for path in files)
    scene = Path("train/images/scene_00000.jpg")
    assert (one / scene).read_bytes() != (other / scene).read_bytes()


def test_a_folder_that_exists_is_left_alone(script, monkeypatch, sources, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(script, monkeypatch, sources, tmp_path)
    assert "exists already; give a new folder" in capsys.readouterr().err

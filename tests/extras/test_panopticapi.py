"""Panoptic files go into panopticapi, and `lucid-mlx eval` finds what it finds: needs panopticapi-lite."""

import json
import shutil

import numpy as np
import pytest
from helpers import SCENE, SCENES, run_cli
from panopticapi.evaluation import pq_compute_single_core
from PIL import Image


@pytest.fixture
def found(tmp_path):
    """A folder with scenes, `photos`, and `panoptic.json` with what was found in them."""
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.open(SCENE).rotate(90 * number).save(tmp_path / f"photos/{number}.png")
    arguments = ("--weights", SCENES, "--format", "panoptic", "--threshold", "0.3")
    run_cli("segment", tmp_path / "photos", "-o", tmp_path / "out", *arguments)
    return tmp_path


def worsen(truth, rng):
    """Make other labels of what was found: moved, without some, some of other classes, and some crowds."""
    panoptic = json.loads((truth.parent / "out/panoptic.json").read_text())
    shutil.copytree(truth.parent / "out/panoptic", truth.with_suffix(""))
    classes = [entry["id"] for entry in panoptic["categories"]]
    for annotation in panoptic["annotations"]:
        png = truth.with_suffix("") / annotation["file_name"]
        pixels = np.roll(np.asarray(Image.open(png)), rng.integers(-3, 4, 2), (0, 1))
        kept = []
        for segment in annotation["segments_info"]:
            mask = (pixels @ np.array([1, 256, 65536]) == segment["id"])[..., None]
            fate = rng.choice(["kept", "lost", "renamed", "crowd"], p=[0.7, 0.1, 0.1, 0.1])
            if fate == "lost" or not mask.any():
                pixels = np.where(mask, np.uint8(0), pixels)
                continue
            segment |= {"area": int(mask.sum()), "iscrowd": int(fate == "crowd")}
            segment |= {"category_id": int(rng.choice(classes))} if fate == "renamed" else {}
            kept.append(segment)
        annotation["segments_info"] = kept
        Image.fromarray(pixels).save(png)
    truth.write_text(json.dumps(panoptic))


@pytest.mark.parametrize("seed", range(3))
def test_the_quality_is_the_same(found, seed):
    truth = found / "truth.json"
    worsen(truth, np.random.default_rng(seed))
    labels, results = (json.loads(path.read_text()) for path in (truth, found / "out/panoptic.json"))
    categories = {entry["id"]: entry for entry in labels["categories"]}
    pairs = list(zip(labels["annotations"], results["annotations"], strict=True))
    theirs = pq_compute_single_core(0, pairs, str(truth.with_suffix("")), str(found / "out/panoptic"), categories)
    arguments = ("--weights", SCENES, "--task", "panoptic", "--threshold", "0.3", "--images", found / "photos")
    run_cli("eval", *arguments, "--annotations", truth, "-o", found / "ours.json")
    ours = json.loads((found / "ours.json").read_text())["metrics"]
    assert 20 < ours["PQ"] < 95
    for suffix, is_thing in (("", None), ("_things", True), ("_stuff", False)):
        wanted, _ = theirs.pq_average(categories, is_thing)
        for name in ("PQ", "SQ", "RQ"):
            assert ours[name + suffix] == pytest.approx(100 * wanted[name.lower()], abs=1e-9)

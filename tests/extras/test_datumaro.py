"""Datumaro, the bridge to CVAT and other tools, reads what `segment` writes.

It brings 500 MB (OpenCV, pyarrow), and has an environment of its own in CI: `pip install datumaro`.
"""

import shutil

import numpy as np
import pytest
from helpers import SCENE, SCENES, run_cli

from lucid_mlx import Segmenter

datumaro = pytest.importorskip("datumaro", reason="large; in an environment of its own in CI")


@pytest.mark.filterwarnings("default")
def test_datumaro_reads_coco_and_writes_for_cvat(tmp_path):
    """The example of docs/results.md."""
    photos = tmp_path / "data" / "images" / "default"
    photos.mkdir(parents=True)
    shutil.copy(SCENE, photos)
    (tmp_path / "data" / "annotations").mkdir()
    file = tmp_path / "data" / "annotations" / "instances_default.json"
    run_cli("segment", photos, "--weights", SCENES, "-o", file, "--format", "coco", "--category-ids", "from-one")

    dataset = datumaro.Dataset.import_from(str(tmp_path / "data"), "coco_instances")
    result = Segmenter(SCENES)(SCENE)
    (item,) = dataset
    names = dataset.categories()[datumaro.AnnotationType.label].items
    masks = [one for one in item.annotations if isinstance(one, datumaro.Mask)]
    found = {names[one.label].name: one.image for one in masks}  # in another order than in the file
    assert len(found) == len(masks) == len(result.segments) > 1
    assert all(np.array_equal(found[segment.label], result.mask(segment)) for segment in result.segments)

    dataset.export(str(tmp_path / "cvat"), "cvat", save_media=True)
    assert (tmp_path / "cvat" / "default.xml").read_text().count("<mask ") == len(result.segments)

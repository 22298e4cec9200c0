"""The library supervision reads what `segment` writes; `pip install supervision`."""

import shutil
import warnings

import numpy as np
import pytest
from helpers import run_cli

from lucid_mlx import Segmenter
from lucid_mlx.weights.address import DEMO_FOLDER

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # OpenCV, which is large, is left out
    import supervision


@pytest.mark.filterwarnings("default")
def test_supervision_reads_the_masks_and_the_classes(tmp_path):
    (tmp_path / "trip").mkdir()
    shutil.copy(DEMO_FOLDER / "scene.png", tmp_path / "trip")
    run_cli("segment", tmp_path / "trip", "--weights", "demo", "-o", tmp_path / "found", "--format", "coco")
    dataset = supervision.DetectionDataset.from_coco(
        images_directory_path=str(tmp_path / "trip"), annotations_path=str(tmp_path / "found/coco.json")
    )
    result = Segmenter("demo")(tmp_path / "trip/scene.png")
    assert dataset.classes == list(result.labels.values())
    ((_, image, detections),) = dataset
    assert image.shape == result.image.shape
    assert detections.class_id.tolist() == [segment.label_id for segment in result.segments]
    assert np.array_equal(detections.mask, result.masks)

"""The library supervision reads what `segment` writes and what results give; `pip install supervision`."""

import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import SCENE, SCENES, run_cli
from results import segmented

from lucid_mlx import Segmenter
from lucid_mlx.datasets import TASKS
from lucid_mlx.weights.address import DEMO_FOLDER

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # OpenCV, which is large, is left out
    import supervision


class Tensor:
    """As much of a torch tensor as supervision asks for, which knows one by the name of its class."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def cpu(self):
        return self

    detach = cpu

    def numpy(self):
        return self.values


def as_transformers(result):
    """The result as transformers' image processor returns it."""
    if result.task == "semantic":
        return Tensor(result.map)
    infos = [{"id": one.id, "label_id": one.label_id, "score": one.score} for one in result.segments]
    if result.task == "panoptic":
        return {"segmentation": Tensor(result.map), "segments_info": infos}
    infos = [{**info, "id": number} for number, info in enumerate(infos)]
    return {"segmentation": Tensor(result.masks), "segments_info": infos}


@pytest.mark.parametrize("task", TASKS)
def test_detections_are_those_that_supervision_makes_of_transformers_results(task):
    result = segmented(task, 3)
    ours = result.to_supervision()
    theirs = supervision.Detections.from_transformers(as_transformers(result), dict(result.labels))
    if task == "semantic":  # in the order of the classes; ours are in that of the segments
        ours = ours[np.argsort(ours.class_id)]
    assert len(ours) == len(result.segments) > 1
    for name in ("xyxy", "mask", "class_id"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    assert ours["class_name"].tolist() == theirs["class_name"].tolist()
    if task == "semantic":
        assert ours.confidence is theirs.confidence is None
    else:
        assert np.array_equal(ours.confidence, theirs.confidence)
        assert ours.confidence.dtype == theirs.confidence.dtype


@pytest.mark.parametrize("task", ["instance", "panoptic"])
def test_nothing_is_no_detection(task):
    found = segmented(task, threshold=1.0).to_supervision()
    assert len(found) == 0
    assert found.is_empty()


def test_detections_can_be_drawn_and_filtered():
    result = segmented("panoptic", 3)
    found = result.to_supervision()
    drawn = supervision.BoxAnnotator().annotate(result.image.copy(), found)
    assert (drawn != result.image).any()
    sure = found[found.confidence > np.median(found.confidence)]
    assert 0 < len(sure) < len(found)


@pytest.mark.filterwarnings("default")
def test_supervision_reads_the_masks_and_the_classes(tmp_path):
    (tmp_path / "trip").mkdir()
    shutil.copy(SCENE, tmp_path / "trip")
    run_cli("segment", tmp_path / "trip", "--weights", SCENES, "-o", tmp_path / "found", "--format", "coco")
    dataset = supervision.DetectionDataset.from_coco(
        images_directory_path=str(tmp_path / "trip"), annotations_path=str(tmp_path / "found/coco.json")
    )
    result = Segmenter(SCENES)(tmp_path / "trip/scene.png")
    assert dataset.classes == list(result.labels.values())
    ((_, image, detections),) = dataset
    assert image.shape == result.image.shape
    assert detections.class_id.tolist() == [segment.label_id for segment in result.segments]
    assert np.array_equal(detections.mask, result.masks)


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEMO_FOLDER / "shoes.jpg", "photo.jpg")
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    (example,) = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "supervision" in one]
    exec(example, names := {})
    assert "shoes" in capsys.readouterr().out
    assert (names["picture"] != names["result"].image).any()

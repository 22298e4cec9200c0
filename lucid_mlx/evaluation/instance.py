"""Mask AP, by COCO's own evaluator."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.evaluation.coco import CocoMetrics
from lucid_mlx.evaluation.report import Metrics

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first of the evaluator's `stats`, in its order


class InstanceMetrics(CocoMetrics):
    """Mask AP of the thing classes: the mean over IoU thresholds from 0.5 to 0.95, with up to 100 instances an image.

    Args:
        dataset: the ground truth.
        class_mapping: the dataset's class for each of the model's.
    """

    def __init__(self, dataset: Dataset, class_mapping: Mapping[int, int]):
        super().__init__(dataset, class_mapping, dataset.thing_ids)

    def compute(self) -> tuple[Metrics, dict[str, Metrics]]:
        """Return the metrics over all classes, and AP and AP50 of each class by its name; all in percent."""
        with redirect_stdout(StringIO()):  # the evaluator prints its progress
            evaluator = COCOeval(as_coco(self.ground_truth), as_coco(self.predictions), "segm")
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        overall = {
            name: None if value < 0 else 100 * float(value)
            for name, value in zip(METRIC_NAMES, evaluator.stats, strict=False)
        }
        return overall, class_metrics(evaluator, self.categories)


def class_metrics(evaluator: COCOeval, categories: Sequence[Mapping[str, Any]]) -> dict[str, Metrics]:
    """Return AP and AP50 of each class by its name, in percent.

    Args:
        evaluator: that has accumulated.
        categories: the evaluated classes, in the order of their ids.

    Returns:
        The metrics; None where there is no object of the class.
    """
    # Axes: IoU threshold, recall, class, object size (the first is all), instances an image (the last is 100).
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    per_class: dict[str, Metrics] = {}
    for index, category in enumerate(categories):
        of_class = precision[:, :, index]
        per_class[category["name"]] = {"AP": _mean(of_class), "AP50": _mean(of_class[0])}
    return per_class


def as_coco(dataset: dict[str, Any]) -> COCO:
    """Return a dataset as pycocotools has it, of what a file in COCO's format holds."""
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _mean(precision: np.ndarray) -> float | None:
    valid = precision[precision > -1]
    return float(100 * valid.mean()) if valid.size else None

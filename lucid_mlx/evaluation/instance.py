"""Mask AP by COCO's own evaluator."""

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.evaluation.coco import CocoMetrics
from lucid_mlx.evaluation.report import Figures

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the first of the evaluator's statistics, in its order


class InstanceMetrics(CocoMetrics):
    """Average precision of the masks of things: the mean over IoU from 0.5 to 0.95, of up to 100 findings an image.

    Args:
        dataset: what is there.
        classes: which class of the dataset each class of the network is.
    """

    def __init__(self, dataset: Dataset, classes: Mapping[int, int]):
        super().__init__(dataset, classes, dataset.things)

    def figures(self) -> tuple[Figures, dict[str, Figures]]:
        """Return the figures in percent: of all classes, and AP and AP50 of each."""
        with redirect_stdout(StringIO()):  # it prints what it does
            evaluator = COCOeval(_coco(self.true), _coco(self.found), "segm")
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        whole = {
            name: None if value < 0 else 100 * float(value) for name, value in zip(NAMES, evaluator.stats, strict=False)
        }
        # IoU, recall, class, size (all of them first), findings (most of them last)
        precision = evaluator.eval["precision"][:, :, :, 0, -1]
        each: dict[str, Figures] = {}
        for place, category in enumerate(self.categories):
            mine = precision[:, :, place]
            each[category["name"]] = {"AP": _mean(mine), "AP50": _mean(mine[0])}
        return whole, each


def _coco(dataset: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _mean(precision: np.ndarray) -> float | None:
    measured = precision[precision > -1]
    return float(100 * measured.mean()) if measured.size else None

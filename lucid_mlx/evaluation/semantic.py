"""Mean intersection over union, as detectron2's `SemSegEvaluator` computes it."""

from collections.abc import Mapping

import numpy as np

from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation.report import Figures
from lucid_mlx.results.segmentation import Segmentation


class SemanticMetrics:
    """Counts how often a pixel of each class was given each class.

    Args:
        dataset: what is there.
        classes: which class of the dataset each class of the network is, where it has one.
    """

    def __init__(self, dataset: Dataset, classes: Mapping[int, int]):
        self.names = dataset.names
        self._class_of = np.full(max(classes, default=-1) + 2, len(self.names), np.int64)  # the last: of none
        self._class_of[list(classes)] = list(classes.values())
        self.confusion = np.zeros((len(self.names), len(self.names) + 1), np.int64)  # a row for each true class

    def add(self, found: Segmentation, target: Target) -> None:
        """Count the pixels of an image whose class is known."""
        truth = target.class_map()
        known = truth >= 0
        guess = self._class_of[np.minimum(found.map[known], len(self._class_of) - 1)]
        columns = len(self.names) + 1
        counts = np.bincount(truth[known] * columns + guess, minlength=self.confusion.size)
        self.confusion += counts.reshape(self.confusion.shape)

    def figures(self) -> tuple[Figures, dict[str, Figures]]:
        """Return the figures in percent, in all and of each class; classes that occur nowhere count in no mean."""
        hits = np.diagonal(self.confusion).astype(np.float64)
        true, guessed = self.confusion.sum(axis=1), self.confusion[:, :-1].sum(axis=0)
        present = true > 0
        if not present.any():
            raise InputError("there is no pixel of a known class in these labels")
        ious = 100 * hits / np.maximum(true + guessed - hits, 1)
        accuracies = 100 * hits / np.maximum(true, 1)
        whole: dict[str, float | None] = {
            "mIoU": float(ious[present].mean()),
            "fwIoU": float((ious * true).sum() / true.sum()),
            "mACC": float(accuracies[present].mean()),
            "pACC": float(100 * hits.sum() / true.sum()),
        }
        each: dict[str, Figures] = {}
        for name, here, iou, accuracy in zip(self.names, present, ious.tolist(), accuracies.tolist(), strict=True):
            each[name] = {"IoU": iou if here else None, "ACC": accuracy if here else None}
        return whole, each

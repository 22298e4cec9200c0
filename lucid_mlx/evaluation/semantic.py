"""Mean intersection over union, as detectron2's `SemSegEvaluator` computes it."""

from collections.abc import Mapping

import numpy as np

from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation.report import Metrics
from lucid_mlx.results.segmentation import Segmentation


class SemanticMetrics:
    """Counts a confusion matrix of pixels.

    Args:
        dataset: the ground truth.
        class_mapping: the dataset's class for each of the model's that it has.

    Attributes:
        class_names: the names of the dataset's K classes.
        confusion: (K, K + 1) int64, pixels by true class (row) and predicted class (column). The last column is for
            predictions of classes that the dataset does not have.
    """

    def __init__(self, dataset: Dataset, class_mapping: Mapping[int, int]):
        self.class_names = dataset.class_names
        other = len(self.class_names)
        self._mapping = np.full(max(class_mapping, default=-1) + 2, other, np.int64)  # the last for all larger ids
        self._mapping[list(class_mapping)] = list(class_mapping.values())
        self.confusion = np.zeros((other, other + 1), np.int64)

    def update(self, prediction: Segmentation, target: Target) -> None:
        """Count the pixels of an image whose true class is known.

        Args:
            prediction: the model's result.
            target: the ground truth, of the same size.
        """
        true = target.class_map()
        known = true >= 0
        predicted = self._mapping[np.minimum(prediction.map[known], len(self._mapping) - 1)]
        columns = self.confusion.shape[1]
        counts = np.bincount(true[known] * columns + predicted, minlength=self.confusion.size)
        self.confusion += counts.reshape(self.confusion.shape)

    def compute(self) -> tuple[Metrics, dict[str, Metrics]]:
        """Compute the metrics. Classes that are not in the ground truth count in no mean.

        Returns:
            The metrics over all classes, and those of each class by its name; all in percent.

        Raises:
            InputError: if no pixel has a known class.
        """
        hits = np.diagonal(self.confusion).astype(np.float64)
        true, predicted = self.confusion.sum(axis=1), self.confusion[:, :-1].sum(axis=0)
        present = true > 0
        if not present.any():
            raise InputError("no pixel has a known class in these labels")
        ious = 100 * hits / np.maximum(true + predicted - hits, 1)
        accuracies = 100 * hits / np.maximum(true, 1)
        overall: dict[str, float | None] = {
            "mIoU": float(ious[present].mean()),
            "fwIoU": float((ious * true).sum() / true.sum()),
            "mACC": float(accuracies[present].mean()),
            "pACC": float(100 * hits.sum() / true.sum()),
        }
        per_class: dict[str, Metrics] = {}
        values = zip(self.class_names, present, ious.tolist(), accuracies.tolist(), strict=True)
        for name, occurs, iou, accuracy in values:
            per_class[name] = {"IoU": iou if occurs else None, "ACC": accuracy if occurs else None}
        return overall, per_class

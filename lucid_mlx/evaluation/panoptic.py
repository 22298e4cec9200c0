"""Panoptic quality (Kirillov et al., CVPR 2019), by the rules of COCO's panoptic API, as hotcoco implements them."""

from collections.abc import Mapping

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.evaluation.coco import CocoMetrics
from lucid_mlx.evaluation.report import Metrics
from lucid_mlx.utils.optional_dependency import require

KEYS = {"PQ": "pq", "SQ": "sq", "RQ": "rq"}
GROUPS = {"": "All", "_things": "Things", "_stuff": "Stuff"}


class PanopticMetrics(CocoMetrics):
    """Panoptic quality (PQ), segmentation quality (SQ) and recognition quality (RQ).

    A predicted segment matches a true one of its class if their intersection over union is above 0.5; unlabeled pixels
    do not count in the union. An unmatched prediction is no false positive if more than half of it is on unlabeled
    pixels or on crowds of its class. Classes that are neither in the ground truth nor predicted count in no mean.

    Args:
        dataset: the ground truth.
        class_mapping: the dataset's class for each of the model's.

    Raises:
        InputError: if the library hotcoco is not installed.
    """

    def __init__(self, dataset: Dataset, class_mapping: Mapping[int, int]):
        require("hotcoco", "train")
        super().__init__(dataset, class_mapping, range(len(dataset.class_names)))

    def compute(self) -> tuple[Metrics, dict[str, Metrics]]:
        """Return the metrics over all, thing and stuff classes, and those of each class by its name; in percent."""
        from hotcoco.panoptic import PanopticEval

        evaluator = PanopticEval(self.ground_truth, self.predictions)
        evaluator.evaluate()
        results = evaluator.results()
        overall: dict[str, float | None] = {}
        for suffix, group in GROUPS.items():
            has_classes = results[group]["n"] > 0
            overall |= {
                f"{name}{suffix}": 100 * results[group][key] if has_classes else None for name, key in KEYS.items()
            }
        per_class: dict[str, Metrics] = {}
        for category in self.categories:
            result = results["per_class"][category["id"]]
            occurs = result["tp"] + result["fp"] + result["fn"] > 0
            per_class[category["name"]] = {name: 100 * result[key] if occurs else None for name, key in KEYS.items()}
        return overall, per_class

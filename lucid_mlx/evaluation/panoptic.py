"""Panoptic quality (Kirillov et al., CVPR 2019), by the rules of the panoptic API, which hotcoco follows."""

from collections.abc import Mapping

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.evaluation.coco import CocoMetrics
from lucid_mlx.evaluation.report import Figures
from lucid_mlx.utils.optional_dependency import require

KEYS = {"PQ": "pq", "SQ": "sq", "RQ": "rq"}
GROUPS = {"": "All", "_things": "Things", "_stuff": "Stuff"}


class PanopticMetrics(CocoMetrics):
    """PQ, SQ and RQ.

    A segment is found if one of its class overlaps it with an intersection over union above one half, where pixels of
    no true segment do not count. Findings that lie on such pixels, or on crowds of their class, for more than one half
    are no errors. Classes that neither occur nor are found count in no mean.

    Args:
        dataset: what is there.
        classes: which class of the dataset each class of the network is.

    Raises:
        InputError: if the library hotcoco is missing.
    """

    def __init__(self, dataset: Dataset, classes: Mapping[int, int]):
        require("hotcoco", "train")
        super().__init__(dataset, classes, range(len(dataset.names)))

    def figures(self) -> tuple[Figures, dict[str, Figures]]:
        """Return the figures in percent: of all classes, of things and of stuff; and of each class."""
        from hotcoco.panoptic import PanopticEval

        evaluator = PanopticEval(self.true, self.found)
        evaluator.evaluate()
        results = evaluator.results()
        whole: dict[str, float | None] = {}
        for suffix, group in GROUPS.items():
            counted = results[group]["n"] > 0
            whole |= {f"{name}{suffix}": 100 * results[group][key] if counted else None for name, key in KEYS.items()}
        each: dict[str, Figures] = {}
        for category in self.categories:
            mine = results["per_class"][category["id"]]
            counted = mine["tp"] + mine["fp"] + mine["fn"] > 0
            each[category["name"]] = {name: 100 * mine[key] if counted else None for name, key in KEYS.items()}
        return whole, each

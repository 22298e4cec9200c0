"""A network against labeled images."""

import difflib
from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation.instance import InstanceMetrics
from lucid_mlx.evaluation.panoptic import PanopticMetrics
from lucid_mlx.evaluation.report import Evaluation
from lucid_mlx.evaluation.semantic import SemanticMetrics
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter

METRICS: Mapping[str, type[SemanticMetrics | InstanceMetrics | PanopticMetrics]] = {
    "semantic": SemanticMetrics,
    "instance": InstanceMetrics,
    "panoptic": PanopticMetrics,
}

# Whose labels tell what a task looks for: panoptic ones tell every pixel's class and every object.
SUITABLE = {
    "semantic": ("semantic", "panoptic"),
    "instance": ("instance", "panoptic"),
    "panoptic": ("panoptic",),
}


def evaluate(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    batch_size: int = 1,
    thresholds: Thresholds | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a network on labeled images, at their own sizes; no more than a batch of them is in memory.

    Args:
        segmenter: the network, and what it looks for.
        dataset: for the same task; panoptic labels serve all tasks. The network must know all of its classes by name.
        batch_size: images that are read together.
        thresholds: what counts as found; the defaults are those of the original project, by which all instances count,
            however unsure.
        progress: show a progress bar, if standard error is a terminal.

    Returns:
        Figures: mIoU and its relatives as detectron2 computes them, AP of masks, or panoptic quality.

    Raises:
        InputError: if the dataset is for another task, its classes are not the network's, or a file cannot be read.
    """
    task = segmenter.task
    if dataset.task not in SUITABLE[task]:
        raise InputError(
            f"labels for {dataset.task} segmentation cannot tell how good {task} segmentation is; expected labels for "
            f"{' or '.join(SUITABLE[task])} segmentation, or another task"
        )
    counted = sorted(dataset.things) if task == "instance" else range(len(dataset.names))
    metrics = METRICS[task](dataset, match_classes(segmenter.labels, {n: dataset.names[n] for n in counted}))
    if thresholds is None:
        thresholds = Thresholds(threshold=0.0) if task == "instance" else Thresholds()
    waiting: deque[Record] = deque()

    def images() -> Iterator[np.ndarray]:
        for record in dataset.records:
            waiting.append(record)
            yield record.image()

    results = segmenter.stream(images(), batch_size=batch_size, thresholds=thresholds)
    for found in tqdm(results, "eval", len(dataset.records), unit="image", disable=None if progress else True):
        record = waiting.popleft()
        target = record.target()
        if target.masks.shape[1:] != found.map.shape:
            sizes = [f"{width}x{height}" for height, width in (found.map.shape, target.masks.shape[1:])]
            raise InputError(f"{record.name} is {sizes[0]} pixels, its labels are for {sizes[1]}")
        metrics.add(found, target)
    return Evaluation(task, len(dataset.records), *metrics.figures())


def match_classes(labels: Mapping[int, str], names: Mapping[int, str]) -> dict[int, int]:
    """Find the classes of a dataset among those of a network by name; capitals do not matter.

    Args:
        labels: the network's names, by number.
        names: the dataset's.

    Returns:
        The dataset's number for each number of the network that has one.

    Raises:
        InputError: if the network lacks any.
    """
    numbers = {name.strip().casefold(): number for number, name in names.items()}
    known = {number: label.strip().casefold() for number, label in labels.items()}
    missing = [name for name in names.values() if name.strip().casefold() not in known.values()]
    if missing:
        near = difflib.get_close_matches(missing[0].casefold(), known.values(), n=1)
        hint = f"; is {missing[0]!r} its {near[0]!r}?" if near else ""
        raise InputError(
            f"the network does not know {len(missing)} of the {len(names)} classes of the dataset: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}{hint}"
        )
    return {number: numbers[name] for number, name in known.items() if name in numbers}

"""Evaluate a model on labeled images."""

import difflib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.data.notices import Notices
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation.instance import InstanceMetrics
from lucid_mlx.evaluation.multi_scale import augmented, check_augmentation
from lucid_mlx.evaluation.panoptic import PanopticMetrics
from lucid_mlx.evaluation.report import Evaluation
from lucid_mlx.evaluation.semantic import SemanticMetrics
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.text import hide_bar, shown
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, MAX_NAME, check_value

METRICS: Mapping[str, type[SemanticMetrics | InstanceMetrics | PanopticMetrics]] = {
    "semantic": SemanticMetrics,
    "instance": InstanceMetrics,
    "panoptic": PanopticMetrics,
}

# The tasks of datasets that can evaluate a task. Panoptic labels have the class of every pixel and every object.
DATASET_TASKS = {
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
    scales: Sequence[float] = (1,),
    flip: bool = False,
) -> Evaluation:
    """Measure the accuracy of a model on labeled images, at their original sizes.

    Only one batch of images is in memory at a time.

    Args:
        segmenter: the model, and its task.
        dataset: labeled images for the same task; panoptic labels serve all tasks. The model must know all of its
            classes by name.
        batch_size: images in a batch.
        thresholds: what counts as a segment. None for those of the original project; for instances it has no score
            threshold.
        progress: show a progress bar, if standard error is a terminal or this a notebook.
        scales: test-time augmentation, for semantic segmentation: factors of the size at which the network sees an
            image, such as `(0.5, 0.75, 1, 1.25, 1.5, 1.75)`; the scores of the classes are averaged. With `flip` these
            are the published "ms+flip".
        flip: average over mirror images too, left for right.

    Returns:
        The metrics: mIoU as detectron2 computes it, mask AP, or panoptic quality.

    Raises:
        InputError: if the dataset is for another task, the model lacks some of its classes, or a file cannot be read;
            or there are scales or `flip` for a task that is not semantic segmentation.
    """
    check_value("segmenter", segmenter, Segmenter)
    check_value("dataset", dataset, Dataset)
    check_value("flip", flip, bool)
    check_value("batch_size", batch_size, int, 1, MAX_BATCH_SIZE)
    task = segmenter.task
    is_augmented = check_augmentation(task, scales, flip)
    class_mapping = check_labels(dataset, task, segmenter.labels)
    metrics = METRICS[task](dataset, class_mapping)
    if thresholds is None:
        thresholds = Thresholds(threshold=0.0) if task == "instance" else Thresholds()
    pending: deque[Record] = deque()

    def images() -> Iterator[np.ndarray]:
        for record in dataset.records:
            pending.append(record)
            yield record.image()

    if is_augmented:
        predictions = augmented(segmenter, images(), scales, flip, batch_size)
    else:
        predictions = segmenter.stream(images(), batch_size=batch_size, thresholds=thresholds)
    notices = Notices("the labeled images")
    bar = tqdm(predictions, "eval", len(dataset.records), unit="image", disable=hide_bar(progress))
    for prediction in bar:
        record = pending.popleft()
        target = record.target()
        if target.masks.shape[1:] != prediction.map.shape:
            sizes = [f"{width}x{height}" for height, width in (prediction.map.shape, target.masks.shape[1:])]
            raise InputError(f"{record.name} is {sizes[0]} pixels, its labels are for {sizes[1]}")
        for reason, id_ in target.left_out:
            notices.add("segment", f"left out: {reason}", f"{id_} of {record.name}")
        metrics.update(prediction, target)
    notices.warn()
    return Evaluation(task, len(dataset.records), *metrics.compute())


def check_labels(dataset: Dataset, task: str, labels: Mapping[int, str]) -> dict[int, int]:
    """Check that a model can be evaluated on a dataset.

    Args:
        dataset: the ground truth.
        task: of the model.
        labels: the names of the model's classes, by class id.

    Returns:
        As `match_classes`.

    Raises:
        InputError: if the dataset is for another task, its labels are not complete, or the model lacks a class.
    """
    if dataset.task not in DATASET_TASKS[task]:
        raise InputError(
            f"labels for {dataset.task} segmentation cannot evaluate {task} segmentation; expected labels for "
            f"{' or '.join(DATASET_TASKS[task])} segmentation, or the task {dataset.task} (`--task {dataset.task}`)"
        )
    check_exhaustive(dataset)
    class_ids = sorted(dataset.thing_ids) if task == "instance" else range(len(dataset.class_names))
    return match_classes(labels, {index: dataset.class_names[index] for index in class_ids})


def check_exhaustive(dataset: Dataset) -> None:
    """Check that the labels of a dataset are complete, so that predictions can be scored by them.

    Args:
        dataset: the ground truth.

    Raises:
        InputError: if they are LVIS's.
    """
    if dataset.federated:
        raise InputError(
            "these are labels of LVIS, which lists some of the classes in each image only: by COCO's rules, right "
            "predictions of others would count as wrong, and the AP be too low; save the predictions with "
            "segment --format coco, and score them with LVIS's own evaluator (pip install lvis)"
        )


def match_classes(labels: Mapping[int, str], class_names: Mapping[int, str]) -> dict[int, int]:
    """Match the classes of a model and a dataset by name, without regard to case.

    Args:
        labels: the names of the model's classes, by class id.
        class_names: the names of the dataset's classes, by class id.

    Returns:
        The dataset's class id for each class id of the model that has one.

    Raises:
        InputError: if the model lacks a class of the dataset.
    """
    ids = {name.strip().casefold(): class_id for class_id, name in class_names.items()}
    known = {class_id: label.strip().casefold() for class_id, label in labels.items()}
    missing = [name for name in class_names.values() if name.strip().casefold() not in known.values()]
    if missing:
        near = difflib.get_close_matches(missing[0].casefold()[:MAX_NAME], known.values(), n=1)
        hint = f"; is {shown(missing[0])} its {shown(near[0])}?" if near else ""
        raise InputError(
            f"the model does not know {len(missing)} of the {len(class_names)} classes of the dataset: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}{hint}"
        )
    return {class_id: ids[name] for class_id, name in known.items() if name in ids}

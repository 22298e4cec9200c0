"""The training objective: match, then score classes and masks (Mask2Former, Cheng et al., CVPR 2022, section 3.3).

Numbers are transformers'. Where that differs from the original (detectron2), or this from transformers:

- The number of masks is averaged over processes as the original does; transformers divides the mean once more.
- All masks of a batch have one size, as both require but only the original ensures.
- Without `use_auxiliary_loss` only the last prediction counts, as in the original; transformers counts all.
- NaN and infinite matching costs are admitted, as in transformers; the original stops at them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.matcher import assign, matching_cost
from lucid_mlx.ops import point_sample, queue, reduce_rows, softplus_and_sigmoid, start

Draw = Callable[[tuple[int, ...]], mx.array]
"""Gives uniform numbers in 0 to 1 of a shape."""


@dataclass(frozen=True)
class Prediction:
    """What the network predicts after one of its layers."""

    masks: mx.array
    """(B, Q, H, W) mask logits."""
    classes: mx.array
    """(B, Q, num_labels + 1) class logits."""

    def detached(self) -> "Prediction":
        """Return copies of the values, computed now.

        Inside `mx.grad` whatever depends on a parameter is kept in memory, even behind `stop_gradient`.
        """
        masks, classes = (mx.array(np.array(x.astype(mx.float32), copy=False)) for x in (self.masks, self.classes))
        return Prediction(masks, classes)


def supervised(
    masks: mx.array, classes: mx.array, auxiliary: Sequence[Mapping[str, mx.array]], config: Mask2FormerConfig
) -> list[Prediction]:
    """Return the last prediction, and the earlier ones after it if the configuration says `use_auxiliary_loss`."""
    earlier = auxiliary if config.use_auxiliary_loss else ()
    return [
        Prediction(masks, classes),
        *(Prediction(entry["masks_queries_logits"], entry["class_queries_logits"]) for entry in earlier),
    ]


@dataclass(frozen=True)
class Targets:
    """The objects of the images of a batch."""

    masks: list[mx.array]
    """(N, height, width) of each image, one size for all."""
    classes: list[np.ndarray]
    """(N,) int32 of each image."""


class Matches:
    """Which query answers for which object in each prediction, and at which points their masks are compared.

    Losses may be built on these arrays before `solve` fills them in, but not computed.

    Args:
        targets: the objects.
        config: the number of queries and of points.
        predictions: the number of predictions.

    Attributes:
        rows: for each prediction, (M,) int32, the matched queries as rows of (B * Q,).
        objects: for each prediction, (M,) int32, the object of each, counted through the batch.
        points: for each prediction, (M, points, 2) float32, of each pair.
        labels: for each prediction, (M, points) float32, the object's mask there.
    """

    def __init__(self, targets: Targets, config: Mask2FormerConfig, predictions: int):
        self.targets, self.config = targets, config
        pairs = sum(min(len(classes), config.num_queries) for classes in targets.classes)
        points = config.train_num_points
        self.rows, self.objects = ([mx.zeros(pairs, mx.int32) for _ in range(predictions)] for _ in range(2))
        self.points = [mx.zeros((pairs, points, 2)) for _ in range(predictions)]
        self.labels = [mx.zeros((pairs, points)) for _ in range(predictions)]

    def solve(self, predictions: Sequence[Prediction], matching: Draw, sampling: Draw) -> None:
        """Match, choose the points and fill all in.

        Args:
            predictions: the predictions.
            matching: the source of the points of the costs, (1, points, 2) for each prediction and image.
            sampling: the source of the points of the losses; for each prediction (M, candidates, 2) for the M matched
                masks and (M, the rest, 2) for the points that are not chosen from those.
        """
        mx.eval([(x.masks, x.classes) for x in predictions], self.rows, self.objects, self.points, self.labels)
        self._match(predictions, matching)
        if self.rows and len(self.rows[0]):
            self._choose_points(predictions, sampling)

    def _match(self, predictions: Sequence[Prediction], draw: Draw) -> None:
        masks, classes = self.targets.masks, self.targets.classes
        costs: list[mx.array] = []
        for prediction in predictions:
            for image in range(len(masks)):
                points = draw((1, self.config.train_num_points, 2))[0]
                with queue(len(costs)):
                    logits = prediction.masks[image], prediction.classes[image]
                    costs.append(matching_cost(*logits, masks[image], classes[image], points, self.config))
        start(costs)
        first_rows = self.config.num_queries * np.arange(len(masks))
        first_objects = np.cumsum([0, *map(len, classes)])[:-1]
        for number, (rows, objects) in enumerate(zip(self.rows, self.objects, strict=True)):
            pairs = [assign(np.array(cost)) for cost in costs[number * len(masks) : (number + 1) * len(masks)]]
            for array, part, firsts in ((rows, 0, first_rows), (objects, 1, first_objects)):
                write(array, np.concatenate([pair[part] + first for pair, first in zip(pairs, firsts, strict=True)]))

    def _choose_points(self, predictions: Sequence[Prediction], draw: Draw) -> None:
        masks = mx.concatenate(self.targets.masks)
        chosen = []
        for number, prediction in enumerate(predictions):
            with queue(number):
                logits = prediction.masks.flatten(0, 1)[self.rows[number]].astype(mx.float32)
                points = uncertain_points(logits[:, None], self.config, draw)
                chosen.append((points, point_sample(masks[self.objects[number]][:, None], points)[:, 0]))
        start(chosen)
        for number, (points, labels) in enumerate(chosen):
            write(self.points[number], points)
            write(self.labels[number], labels)


def write(array: mx.array, values: Any) -> None:
    """Write values to an array's own memory, where a graph that was built on it finds them."""
    np.array(array, copy=False)[:] = np.array(values, copy=False)


def uniform(key: mx.array | None) -> Draw:
    """Draw from a key, or from `mx.random.state` if it is None; each draw takes new numbers."""

    def draw(shape: tuple[int, ...]) -> mx.array:
        nonlocal key
        part = None
        if key is not None:
            key, part = mx.random.split(key)
        return mx.random.uniform(shape=shape, key=part)

    return draw


def sources(key: mx.array | None) -> tuple[Draw, Draw]:
    """Return the sources of the matching's and of the losses' points, independent of each other's order."""
    first, second = (None, None) if key is None else mx.random.split(key)
    return uniform(first), uniform(second)


def read_targets(
    mask_labels: Sequence[mx.array], class_labels: Sequence[mx.array], batch: int, num_labels: int
) -> Targets:
    """Check labels and return them as targets.

    Args:
        mask_labels: for each image (N, height, width), 1 inside the object and 0 outside, of any dtype; N may be 0.
        class_labels: for each image the N class numbers.
        batch: number of images.
        num_labels: number of classes.

    Raises:
        InputError: if their numbers, shapes or classes do not fit.
    """
    if len(mask_labels) != batch or len(class_labels) != batch:
        raise InputError(
            f"mask_labels and class_labels need one entry for each of the {batch} images; they have "
            f"{len(mask_labels)} and {len(class_labels)}"
        )
    masks = [x if isinstance(x, mx.array) else mx.array(x) for x in mask_labels]
    classes = [np.asarray(x) for x in class_labels]
    for number, (mask, labels) in enumerate(zip(masks, classes, strict=True)):
        if mask.ndim != 3 or labels.shape != mask.shape[:1] or mask.shape[1:] != masks[0].shape[1:]:
            raise InputError(
                f"image {number} of the batch has masks of the shape {tuple(mask.shape)} and class labels of the shape "
                f"{labels.shape}; expected (N, height, width), of one size for the batch, and (N,)"
            )
        if labels.size and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_labels):
            raise InputError(
                f"class labels must be whole numbers from 0 to {num_labels - 1}; image {number} has "
                f"{labels.min()} to {labels.max()} ({labels.dtype})"
            )
    return Targets(masks, [labels.astype(np.int32) for labels in classes])


def losses(
    predictions: Sequence[Prediction], targets: Targets, matches: Matches, config: Mask2FormerConfig
) -> dict[str, mx.array]:
    """Score every prediction.

    Args:
        predictions: the last one first, then the earlier ones in their order.
        targets: the objects.
        matches: of these predictions with these targets.
        config: the weights.

    Returns:
        Weighted scalars `loss_cross_entropy`, `loss_mask` and `loss_dice` for the first prediction, and the same with
        `_0`, `_1` and so on for the others.
    """
    classes, count = mx.array(np.concatenate(targets.classes)), mean_number_of_masks(targets)
    results = {}
    for number, prediction in enumerate(predictions):
        suffix = f"_{number - 1}" if number else ""
        rows, objects = matches.rows[number], matches.objects[number]
        cross_entropy = class_loss(prediction.classes.flatten(0, 1), rows, classes[objects], config.no_object_weight)
        with queue(number):
            logits = prediction.masks.flatten(0, 1)[rows]
            mask, dice = mask_losses(logits, matches.points[number], matches.labels[number])
        results[f"loss_cross_entropy{suffix}"] = config.class_weight * cross_entropy
        results[f"loss_mask{suffix}"] = config.mask_weight * mask / count
        results[f"loss_dice{suffix}"] = config.dice_weight * dice / count
    return results


def mean_number_of_masks(targets: Targets) -> mx.array | int:
    """Return the number of objects of the batch, averaged over the processes of a distributed run; at least 1."""
    count = sum(map(len, targets.classes))
    group = mx.distributed.init()
    if group.size() == 1:
        return max(count, 1)
    return mx.maximum(mx.distributed.all_sum(mx.array(float(count)), group=group) / group.size(), 1.0)


def class_loss(logits: mx.array, rows: mx.array, classes: mx.array, no_object_weight: float) -> mx.array:
    """Return the mean cross entropy of all queries, those without an object weighted less.

    Args:
        logits: (queries, num_labels + 1), "no object" last.
        rows: (M,) the queries with an object.
        classes: (M,) its class.
        no_object_weight: weight of the others, whose class is "no object".
    """
    queries, outputs = logits.shape
    labels = mx.full(queries, outputs - 1, mx.int32)
    labels[rows] = classes
    weights = mx.where(labels == outputs - 1, no_object_weight, 1.0)
    total = len(rows) + no_object_weight * (queries - len(rows))
    return nn.losses.cross_entropy(logits.astype(mx.float32), labels, weights).sum() / (total or 1.0)


def mask_losses(logits: mx.array, points: mx.array, labels: mx.array) -> tuple[mx.array, mx.array]:
    """Return the cross entropy and the dice loss of matched masks at a few points of each, summed over masks.

    Args:
        logits: (M, H, W).
        points: (M, points, 2) in 0 to 1.
        labels: (M, points), the objects' masks there.
    """
    if not len(logits):
        return mx.zeros(()), mx.zeros(())
    x = point_sample(logits.astype(mx.float32)[:, None], points)[:, 0]
    negative, p = softplus_and_sigmoid(x)
    cross_entropy = reduce_rows(mx.sum, negative - x * labels).sum() / labels.shape[1]
    dice = 1.0 - (2.0 * reduce_rows(mx.sum, p * labels) + 1.0) / (reduce_rows(mx.sum, p + labels) + 1.0)
    return cross_entropy, dice.sum()


def uncertain_points(logits: mx.array, config: Mask2FormerConfig, draw: Draw) -> mx.array:
    """Choose points for each mask, most where its logit is nearest 0 (PointRend, Kirillov et al. 2020, section 3.1).

    Args:
        logits: (M, 1, H, W).
        config: the number of points, of candidates for each, and the share that is chosen from them.
        draw: the source of the candidates and of the other points.

    Returns:
        (M, points, 2) in 0 to 1.
    """
    masks, total = len(logits), config.train_num_points
    chosen = int(config.importance_sample_ratio * total)
    points = draw((masks, int(config.oversample_ratio * total), 2))
    certainty = mx.abs(point_sample(logits, points)[:, 0])
    nearest = mx.argpartition(certainty, max(chosen - 1, 0), axis=1)[:, :chosen]
    points = mx.take_along_axis(points, nearest[..., None], axis=1)
    if chosen < total:
        points = mx.concatenate([points, draw((masks, total - chosen, 2))], axis=1)
    return points

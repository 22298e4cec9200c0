"""Which query answers for which object, and at which points their masks are compared.

The cheapest one-to-one assignment (DETR, Carion et al. 2020, section 3.1), with masks compared at sampled points
(Mask2Former, Cheng et al., CVPR 2022, section 3.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.targets import Targets
from lucid_mlx.ops import evaluate, mask_matching_cost, point_sample, sample_matched_masks

Pairs = tuple[np.ndarray, np.ndarray]
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


@dataclass(frozen=True)
class Match:
    """Which query answers for which object in one prediction, and where their M masks are compared."""

    rows: mx.array
    """(M,) int32, the matched queries as rows of (B * Q,)."""
    objects: mx.array
    """(M,) int32, the object of each, counted through the batch."""
    points: mx.array
    """(M, points, 2) float32 in 0 to 1, of each pair."""
    labels: mx.array
    """(M, points) float32, the object's mask there."""


def match(
    predictions: Sequence[Prediction], targets: Targets, config: Mask2FormerConfig, key: mx.array | None
) -> list[Match]:
    """Match each prediction with the targets, and choose the points of its losses; all is computed now.

    Args:
        predictions: the predictions, not traced by `mx.grad` (see `Prediction.detached`).
        targets: the objects.
        config: the weights of the costs, and the number of points.
        key: of all random points; None draws from `mx.random.state`.

    Returns:
        A match for each prediction.
    """
    cost_key, loss_key = (None, None) if key is None else mx.random.split(key)
    pairs = _match(predictions, targets, config, uniform(cost_key))
    draw = uniform(loss_key)
    matched = np.unique(np.concatenate([objects for _, objects in pairs]))
    masks = _select(targets.masks, matched)
    matches = []
    for prediction, (rows, objects) in zip(predictions, pairs, strict=True):
        row, object_ = mx.array(rows.astype(np.int32)), mx.array(objects.astype(np.int32))
        if not len(rows):
            count = config.train_num_points
            matches.append(Match(row, object_, mx.zeros((0, count, 2)), mx.zeros((0, count))))
            continue
        mask = mx.array(np.searchsorted(matched, objects).astype(np.int32))
        points, labels = sample_matched_masks(
            prediction.masks.flatten(0, 1), masks, row, mask, lambda logits: uncertain_points(logits, config, draw)
        )
        matches.append(Match(row, object_, points, labels))
    evaluate([(found.points, found.labels) for found in matches])
    return matches


def _select(masks: Sequence[mx.array], objects: np.ndarray) -> mx.array:
    """Return the masks of some of the batch's objects; of hundreds in an image, most have no match."""
    selected, first = [], 0
    for of_image in masks:
        here = objects[(objects >= first) & (objects < first + len(of_image))] - first
        selected.append(of_image if len(here) == len(of_image) else of_image[mx.array(here.astype(np.int32))])
        first += len(of_image)
    return mx.concatenate(selected)


def _match(predictions: Sequence[Prediction], targets: Targets, config: Mask2FormerConfig, draw: Draw) -> list[Pairs]:
    """Return the rows and objects of each prediction's match."""
    costs = []
    for prediction in predictions:
        for image, (masks, classes) in enumerate(zip(targets.masks, targets.classes, strict=True)):
            points = draw((1, config.train_num_points, 2))[0]
            costs.append(
                matching_cost(prediction.masks[image], prediction.classes[image], masks, classes, points, config)
            )
    evaluate(costs)
    images = len(targets.masks)
    first_rows = config.num_queries * np.arange(images)
    first_objects = np.cumsum([0, *map(len, targets.classes)])[:-1]
    found = []
    for number in range(len(predictions)):
        assigned = [assign(np.array(cost)) for cost in costs[number * images : (number + 1) * images]]
        rows = [queries + first for (queries, _), first in zip(assigned, first_rows, strict=True)]
        objects = [objects + first for (_, objects), first in zip(assigned, first_objects, strict=True)]
        found.append((np.concatenate(rows), np.concatenate(objects)))
    return found


def matching_cost(
    mask_logits: mx.array,
    class_logits: mx.array,
    masks: mx.array,
    classes: np.ndarray,
    points: mx.array,
    config: Mask2FormerConfig,
) -> mx.array:
    """Return what it costs to match each query of an image with each of its objects.

    Args:
        mask_logits: (Q, H, W).
        class_logits: (Q, num_labels + 1).
        masks: (N, height, width) of 0 and 1, of any dtype and size.
        classes: (N,) class numbers.
        points: (P, 2) in 0 to 1, where all masks are compared.
        config: the three weights.

    Returns:
        (Q, N) float32.
    """
    mask_cost = mask_matching_cost(
        mask_logits.astype(mx.float32), masks, points, config.mask_weight, config.dice_weight
    )
    # The probability, not its logarithm, so that this cost is of the size of the others (DETR).
    class_cost = -mx.softmax(class_logits.astype(mx.float32), axis=-1)[:, mx.array(classes)]
    return config.class_weight * class_cost + mask_cost


def assign(cost: np.ndarray) -> Pairs:
    """Match as many queries and objects as there are of the fewer, at the least total cost.

    A cost that is NaN or infinite counts as more than any assignment of finite ones, so that such a pair is made only
    if there is no other. (transformers puts the largest float there, next to which finite costs vanish by rounding.)

    Args:
        cost: (Q, N).

    Returns:
        The queries in ascending order, and the object of each; both (min(Q, N),).
    """
    from scipy.optimize import linear_sum_assignment  # heavy, and only training needs it

    cost = cost.astype(np.float64)
    finite = np.isfinite(cost)
    if not finite.all():
        least, most = (cost[finite].min(), cost[finite].max()) if finite.any() else (0.0, 0.0)
        cost = np.where(finite, cost, most + (most - least) * min(cost.shape) + 1.0)
    queries, objects = linear_sum_assignment(cost)
    return queries, objects


def uncertain_points(logits: mx.array, config: Mask2FormerConfig, draw: Draw) -> mx.array:
    """Choose points for each mask, most where its logit is nearest 0 (PointRend, Kirillov et al. 2020, section 3.1).

    Args:
        logits: (M, H, W).
        config: the number of points, of candidates for each, and the share that is chosen from them.
        draw: the source of the candidates and of the other points.

    Returns:
        (M, points, 2) in 0 to 1.
    """
    masks, total = len(logits), config.train_num_points
    chosen = int(config.importance_sample_ratio * total)
    candidates = draw((masks, int(config.oversample_ratio * total), 2))
    certainty = mx.abs(point_sample(logits[:, None], candidates)[:, 0])
    nearest = mx.argpartition(certainty, max(chosen - 1, 0), axis=1)[:, :chosen]
    points = mx.take_along_axis(candidates, nearest[..., None], axis=1)
    if chosen < total:
        points = mx.concatenate([points, draw((masks, total - chosen, 2))], axis=1)
    return points


def uniform(key: mx.array | None) -> Draw:
    """Return a function that draws from a key, or from `mx.random.state` if it is None; each call gives new numbers."""

    def draw(shape: tuple[int, ...]) -> mx.array:
        nonlocal key
        part = None
        if key is not None:
            key, part = mx.random.split(key)
        return mx.random.uniform(shape=shape, key=part)

    return draw

"""The training objective: classes and masks of matched queries (Mask2Former, Cheng et al., CVPR 2022, section 3.3).

The losses equal transformers'. Where transformers differs from the original (detectron2), or this from transformers:

- The number of masks is averaged over processes as the original does; transformers divides the mean once more.
- All masks of a batch have one size, as both require but only the original ensures.
- Without `use_auxiliary_loss` only the last prediction counts, as in the original; transformers counts all.
- NaN and infinite matching costs are admitted, as in transformers; the original stops at them.
"""

from collections.abc import Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.matcher import Match, Prediction
from lucid_mlx.models.vision.mask2former.targets import Targets
from lucid_mlx.ops import mask_losses


def scored_predictions(
    masks: mx.array, classes: mx.array, auxiliary: Sequence[Mapping[str, mx.array]], config: Mask2FormerConfig
) -> list[Prediction]:
    """Return the predictions that are scored.

    Args:
        masks: (B, Q, H, W), mask logits of the last prediction.
        classes: (B, Q, num_labels + 1), its class logits.
        auxiliary: the earlier predictions, as `Mask2Former.get_auxiliary_logits` returns them.
        config: whose `use_auxiliary_loss` decides whether the earlier ones count.

    Returns:
        The last prediction, then the earlier ones in their order.
    """
    earlier = auxiliary if config.use_auxiliary_loss else ()
    return [
        Prediction(masks, classes),
        *(Prediction(entry["masks_queries_logits"], entry["class_queries_logits"]) for entry in earlier),
    ]


def compute_losses(
    predictions: Sequence[Prediction],
    targets: Targets,
    matches: Sequence[Match],
    config: Mask2FormerConfig,
    class_weights: mx.array | None = None,
) -> dict[str, mx.array]:
    """Score every prediction.

    Args:
        predictions: the last one first, then the earlier ones in their order.
        targets: the objects.
        matches: of these predictions with these targets.
        config: the weights of the losses, and of "no object".
        class_weights: (num_labels,) float32, the weight of each class in the classification loss; None for 1.

    Returns:
        Weighted scalars `loss_cross_entropy`, `loss_mask` and `loss_dice` for the first prediction, and the same with
        `_0`, `_1` and so on for the others.
    """
    classes, count = mx.array(np.concatenate(targets.classes)), mean_number_of_masks(targets)
    weights = mx.ones(config.num_labels) if class_weights is None else class_weights
    weights = mx.concatenate([weights, mx.array([config.no_object_weight], mx.float32)])
    results = {}
    for number, (prediction, match) in enumerate(zip(predictions, matches, strict=True)):
        suffix = f"_{number - 1}" if number else ""
        logits = prediction.classes.flatten(0, 1)
        cross_entropy = class_loss(logits, match.rows, classes[match.objects], weights)
        matched = prediction.masks.flatten(0, 1)[match.rows].astype(mx.float32)
        mask, dice = mask_losses(matched, match.points, match.labels).sum(axis=0)
        results[f"loss_cross_entropy{suffix}"] = config.class_weight * cross_entropy
        results[f"loss_mask{suffix}"] = config.mask_weight * mask / count
        results[f"loss_dice{suffix}"] = config.dice_weight * dice / count
    return results


def mean_number_of_masks(targets: Targets) -> mx.array | int:
    """Return the number of objects of the batch, averaged over the processes of a distributed run; a scalar >= 1."""
    count = sum(map(len, targets.classes))
    group = mx.distributed.init()
    if group.size() == 1:
        return max(count, 1)
    return mx.maximum(mx.distributed.all_sum(mx.array(float(count)), group=group) / group.size(), 1.0)


def class_loss(logits: mx.array, rows: mx.array, classes: mx.array, weights: mx.array) -> mx.array:
    """Return the weighted mean cross entropy of all queries, as torch's `cross_entropy(weight=)`; 0 if all weigh 0.

    Args:
        logits: (queries, num_labels + 1), "no object" last.
        rows: (M,) the queries with an object.
        classes: (M,) the class of each. That of the other queries is "no object".
        weights: (num_labels + 1,) float32, of each class.

    Returns:
        A float32 scalar.
    """
    queries, outputs = logits.shape
    labels = mx.full(queries, outputs - 1, mx.int32)
    labels[rows] = classes
    weight = weights[labels]
    total = weight.sum()
    losses = nn.losses.cross_entropy(logits.astype(mx.float32), labels, weight)
    return losses.sum() / mx.where(total > 0, total, 1.0)

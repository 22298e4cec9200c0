"""What the objective computes for each mask by itself, at sampled points (Mask2Former, section 3.3)."""

from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends import accelerated
from lucid_mlx.ops.point_sample import point_sample
from lucid_mlx.ops.row_sum import row_sum
from lucid_mlx.ops.softplus import softplus_and_sigmoid


@accelerated
def mask_matching_cost(
    mask_logits: mx.array, masks: mx.array, points: mx.array, mask_weight: float, dice_weight: float
) -> mx.array:
    """Return what it costs to match masks with objects: cross entropy and dice, at the same points for all.

    Args:
        mask_logits: (Q, H, W) float32.
        masks: (N, height, width) of 0 and 1, of any dtype and size: the objects.
        points: (P, 2) as (x, y); 0 and 1 are the outer borders of a mask.
        mask_weight: of the mean cross entropy.
        dice_weight: of the dice loss.

    Returns:
        (Q, N) float32.
    """
    x = point_sample(mask_logits[None], points[None])[0]
    labels = point_sample(masks[None], points[None])[0]
    # The cross entropy is softplus(x) where the label is 0, and softplus(x) - x where it is 1.
    negative, p = softplus_and_sigmoid(x)
    cross_entropy = (row_sum(negative) - x @ labels.T) / len(points)
    dice = 1.0 - (2.0 * (p @ labels.T) + 1.0) / (row_sum(p) + labels.sum(axis=1) + 1.0)
    return mask_weight * cross_entropy + dice_weight * dice


@accelerated
def sample_matched_masks(
    mask_logits: mx.array,
    masks: mx.array,
    rows: mx.array,
    objects: mx.array,
    choose: Callable[[mx.array], mx.array],
) -> tuple[mx.array, mx.array]:
    """Choose points for M matched pairs of a query and an object, and sample the objects' masks there.

    Args:
        mask_logits: (queries, H, W).
        masks: (N, height, width) of 0 and 1, of any dtype and size: the objects.
        rows: (M,) int32, the query of each pair.
        objects: (M,) int32, the object of each pair.
        choose: gives points (M, P, 2), as (x, y) in 0 to 1, for mask logits (M, H, W) float32.

    Returns:
        The points, (M, P, 2), and the labels there, (M, P) float32.
    """
    points = choose(mask_logits[rows].astype(mx.float32))
    return points, point_sample(masks[objects][:, None], points)[:, 0]


@accelerated
def mask_losses(mask_logits: mx.array, points: mx.array, labels: mx.array) -> mx.array:
    """Return the mean cross entropy and the dice loss of each mask at its points.

    Args:
        mask_logits: (M, H, W) float32.
        points: (M, P, 2) in 0 to 1.
        labels: (M, P) float32, the objects' masks at the points.

    Returns:
        (M, 2) float32.
    """
    x = point_sample(mask_logits[:, None], points)[:, 0]
    negative, p = softplus_and_sigmoid(x)
    cross_entropy = row_sum(negative - x * labels) / labels.shape[1]
    dice = 1.0 - (2.0 * row_sum(p * labels) + 1.0) / (row_sum(p + labels) + 1.0)
    return mx.concatenate([cross_entropy, dice], axis=1)

"""Which query answers for which object: the cheapest one-to-one assignment (DETR, Carion et al. 2020, section 3.1)."""

import mlx.core as mx
import numpy as np

from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.ops import point_sample, reduce_rows, softplus_and_sigmoid

Pairs = tuple[np.ndarray, np.ndarray]


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
    x = point_sample(mask_logits[None].astype(mx.float32), points[None])[0]
    labels = point_sample(masks[None], points[None])[0].T
    # Means of the cross entropy of every pair: softplus(x) where the label is 0, softplus(x) - x where it is 1.
    negative, p = softplus_and_sigmoid(x)
    mask_cost = (reduce_rows(mx.sum, negative) - x @ labels) / len(points)
    dice_cost = 1.0 - (2.0 * (p @ labels) + 1.0) / (reduce_rows(mx.sum, p) + labels.sum(axis=0) + 1.0)
    # The probability, not its logarithm, so that this cost is of the size of the others (DETR).
    class_cost = -mx.softmax(class_logits.astype(mx.float32), axis=-1)[:, mx.array(classes)]
    return config.class_weight * class_cost + config.mask_weight * mask_cost + config.dice_weight * dice_cost


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

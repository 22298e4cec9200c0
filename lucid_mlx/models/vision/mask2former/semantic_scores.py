"""From the predictions of queries to the scores of classes."""

import mlx.core as mx


def semantic_scores(class_logits: mx.array, mask_logits: mx.array, top_k_queries: int | None = None) -> mx.array:
    """Add up the masks of each class: sum over queries of p(class) x p(mask) (paper, section 3.4 of MaskFormer).

    Args:
        class_logits: (B, Q, num_labels + 1), "no object" last.
        mask_logits: (B, Q, H, W).
        top_k_queries: use just the queries of highest 1 - p(no object).

    Returns:
        (B, num_labels, H, W) float32.
    """
    # In half precision sums over a hundred queries would change the class of one pixel in a hundred.
    class_logits, mask_logits = class_logits.astype(mx.float32), mask_logits.astype(mx.float32)
    probabilities = mx.softmax(class_logits, axis=-1)
    if top_k_queries is not None and top_k_queries < probabilities.shape[1]:
        kept = mx.argsort(probabilities[..., -1], axis=1)[:, :top_k_queries]
        probabilities = mx.take_along_axis(probabilities, kept[:, :, None], axis=1)
        mask_logits = mx.take_along_axis(mask_logits, kept[:, :, None, None], axis=1)
    batch, _, height, width = mask_logits.shape
    masks = mx.sigmoid(mask_logits).reshape(batch, -1, height * width)
    return (probabilities[..., :-1].swapaxes(1, 2) @ masks).reshape(batch, -1, height, width)

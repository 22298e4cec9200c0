"""Semantic segmentation: a class for each pixel."""

from collections.abc import Iterator, Sequence

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import evaluated_in_order, numpy_is_fast
from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import ImageSizes, Outputs, Size, extract_logits, image_sizes
from lucid_mlx.postprocessing.tiles import Region, resize_tile, resized_tiles
from lucid_mlx.utils.validation import check_value


def semantic_segmentation(
    outputs: Outputs,
    input_size: Size,
    target_sizes: Sequence[Size] | None = None,
    *,
    content_sizes: Sequence[Size] | None = None,
    resize_scores: bool = False,
) -> list[mx.array]:
    """Give each pixel the class with the highest score, as the original project does.

    The score of a class is the sum over queries of p(class) x p(mask) (MaskFormer, section 3.4).

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        input_size: (height, width) of the network's input.
        target_sizes: (height, width) of each result; `content_sizes` if None.
        content_sizes: for each image the (height, width) of the top left part of the input that shows it, where the
            rest is padding; the whole input if None.
        resize_scores: compute scores at the size of the input and resize the scores. The original project does so with
            networks that are trained for semantic segmentation only (SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE is off).
            If False, the mask logits are resized and scores are computed afterwards, as it does with other networks.

    Returns:
        (height, width) int32 for each image, the class of each pixel.

    Raises:
        InputError: if logits are missing or not finite, or a size does not fit.
    """
    check_value("resize_scores", resize_scores, bool)
    class_logits, mask_logits = extract_logits(outputs)
    sizes = image_sizes(len(class_logits), input_size, content_sizes, target_sizes)
    return [semantic_map(*image, resize_scores) for image in zip(class_logits, mask_logits, sizes, strict=True)]


def semantic_map(class_logits: mx.array, mask_logits: mx.array, sizes: ImageSizes, resize_scores: bool) -> mx.array:
    """Give each pixel of one image the class with the highest score.

    Args:
        class_logits: (Q, num_labels + 1).
        mask_logits: (Q, h, w).
        sizes: the sizes of the image.
        resize_scores: compute scores at the size of the input and resize the scores.

    Returns:
        (height, width) int32, the class of each pixel.
    """
    class_map = np.empty(sizes.target_size, np.int32)
    use_numpy = numpy_is_fast()
    tiles = (
        (region, scores if use_numpy else mx.argmax(scores, axis=-1))
        for region, scores in _class_scores(class_logits, mask_logits, sizes, resize_scores)
    )
    for region, values in evaluated_in_order(tiles):
        class_map[region] = values.argmax(axis=-1) if use_numpy else values
    return mx.array(class_map)


def _class_scores(
    class_logits: mx.array, mask_logits: mx.array, sizes: ImageSizes, resize_scores: bool
) -> Iterator[tuple[Region, mx.array]]:
    """Yield the scores of each tile, (height, width, num_labels)."""
    class_probabilities = mx.contiguous(softmax(class_logits)[:, :-1])
    queries, num_labels = class_probabilities.shape
    in_two_steps = resize_scores and sizes.content_size != sizes.target_size
    for tile in resized_tiles(mask_logits, sizes, max(queries, num_labels), stop_at_input_size=in_two_steps):
        masks = sigmoid(tile.logits)
        scores = (masks.reshape(-1, queries) @ class_probabilities).reshape(*masks.shape[:2], num_labels)
        if tile.resize_weights is not None:
            scores = resize_tile(scores, tile.resize_weights)
        yield tile.region, scores

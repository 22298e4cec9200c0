"""A class for each pixel."""

from collections.abc import Iterator, Sequence

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import evaluated_in_order, numpy_is_fast
from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import Outputs, Size, View, read_logits, read_views
from lucid_mlx.postprocessing.tiles import Part, resize, tiles


def semantic_segmentation(
    outputs: Outputs,
    input_size: Size,
    target_sizes: Sequence[Size] | None = None,
    *,
    content_sizes: Sequence[Size] | None = None,
    resize_scores: bool = False,
) -> list[mx.array]:
    """Give each pixel the class of highest score, as the original project does.

    A class's score is the sum over queries of p(class) x p(mask) (MaskFormer, section 3.4).

    Args:
        outputs: the network's, with `class_queries_logits` and `masks_queries_logits`.
        input_size: height and width of what the network saw.
        target_sizes: height and width of each result; those of `content_sizes` if None.
        content_sizes: height and width of the top left part of the input that shows each image, where the rest is
            padding; all of the input if None.
        resize_scores: make scores at the network's input and resize them, as the original does with networks for
            semantic segmentation alone (SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE is off). If False, mask logits are
            resized and scores made of them, as it does with the others.

    Returns:
        (height, width) int32 for each image.

    Raises:
        InputError: for logits that are missing or not finite, or sizes that do not fit.
    """
    classes, masks = read_logits(outputs)
    views = read_views(len(classes), input_size, content_sizes, target_sizes)
    return [semantic_map(*image, resize_scores) for image in zip(classes, masks, views, strict=True)]


def semantic_map(classes: mx.array, masks: mx.array, view: View, resize_scores: bool) -> mx.array:
    """Do the above for one image: classes (Q, num_labels + 1), masks (Q, h, w)."""
    result = np.empty(view.size, np.int32)
    scores, in_numpy = _scores(classes, masks, view, resize_scores), numpy_is_fast()
    made = ((part, x if in_numpy else mx.argmax(x, axis=-1)) for part, x in scores)
    for part, found in evaluated_in_order(made):
        result[part] = found.argmax(axis=-1) if in_numpy else found
    return mx.array(result)


def _scores(classes: mx.array, masks: mx.array, view: View, resize_scores: bool) -> Iterator[tuple[Part, mx.array]]:
    """Make the scores of one tile after the other, (height, width, num_labels)."""
    probabilities = mx.contiguous(softmax(classes)[:, :-1])
    queries, labels = probabilities.shape
    twice = resize_scores and view.content_size != view.size
    for tile in tiles(masks, view, max(queries, labels), stop_at_input=twice):
        shown = sigmoid(tile.logits)
        scores = (shown.reshape(-1, queries) @ probabilities).reshape(*shown.shape[:2], labels)
        if tile.to_result is not None:
            scores = resize(scores, tile.to_result)
        yield tile.part, scores

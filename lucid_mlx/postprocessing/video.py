"""Video instance segmentation: a mask in every frame for each object; masks may overlap."""

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import RANGES, Size, extract_logits, image_sizes
from lucid_mlx.postprocessing.instance import top_pairs
from lucid_mlx.postprocessing.tiles import axis_weights
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value


class VideoInstances(NamedTuple):
    """The objects of a clip, highest score first.

    Attributes:
        scores: (N,) float32, 0 to 1: the probability of the class.
        labels: (N,) int32, ids of the classes.
        masks: (N, T, height, width) bool, a mask for each frame, empty where the object is not to be seen.
    """

    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def video_instances(
    class_logits: mx.array,
    mask_logits: mx.array,
    input_size: Size,
    target_size: Size,
    content_size: Size | None = None,
    top_k: int = 10,
) -> VideoInstances:
    """Find the objects of a clip, as the original project does.

    A query may be an object of several classes: the (query, class) pairs with the highest probabilities are taken.
    Only the result has the size of the video; to find its frames one after the other, pass the mask logits of one
    frame at a time with the same class logits.

    Args:
        class_logits: (Q, num_labels + 1), "no object" last.
        mask_logits: (Q, T, h, w).
        input_size: (height, width) of the network's input.
        target_size: (height, width) of the masks.
        content_size: (height, width) of the top left part of the input that shows the frames, where the rest is
            padding; the whole input if None.
        top_k: number of (query, class) pairs to take.

    Returns:
        At most `top_k` objects; a tuple of scores, labels and masks.

    Raises:
        InputError: if logits do not fit together or are not finite, a size does not fit, or `top_k` is below 1.
    """
    check_value("top_k", top_k, int, *RANGES["top_k"])
    for name, value, ndim in (("class_logits", class_logits, 2), ("mask_logits", mask_logits, 4)):
        if not isinstance(value, mx.array) or value.ndim != ndim or min(value.shape) < 1:
            raise InputError(
                f"{name} must be an array of {ndim} dimensions, got {shown(getattr(value, 'shape', value))}"
            )
    contents = None if content_size is None else [content_size]
    sizes = image_sizes(1, input_size, contents, [target_size])[0]
    _, frames, height, width = mask_logits.shape
    queries, labels, scores = _best_pairs(class_logits, mask_logits, top_k)
    rows, columns = (mx.array(axis_weights((height, width)[axis], sizes, axis)) for axis in (0, 1))
    masks = np.empty((len(queries), frames, *sizes.target_size), bool)
    for frame in range(frames):
        logits = mask_logits[mx.array(queries), frame].astype(mx.float32)
        masks[:, frame] = np.array(rows @ (logits @ columns.T) > 0)
    return VideoInstances(scores, labels.astype(np.int32), masks)


def _best_pairs(class_logits: mx.array, mask_logits: mx.array, top_k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check logits; return what `top_pairs` returns."""
    outputs = {"class_queries_logits": class_logits[None]}
    for frame in range(mask_logits.shape[1]):
        checked, _ = extract_logits({**outputs, "masks_queries_logits": mask_logits[None, :, frame]})
    return top_pairs(checked[0], top_k)

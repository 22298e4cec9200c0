"""From the network's queries to a class for each pixel of the photo."""

import mlx.core as mx
import numpy as np

from lucid_mlx.ops.resize import interpolation_matrix

Size = tuple[int, int]

STRIP_BYTES = 64 << 20


def semantic_map(class_logits: mx.array, mask_logits: mx.array, input_size: Size, target_size: Size) -> np.ndarray:
    """Give each pixel of the photo the class of highest score, as the original project does.

    Mask logits are resized to the network's input; there the class scores are sum over queries of
    p(class) x p(mask) (MaskFormer, section 3.4); these are resized to the photo. It is done in strips of rows, so
    that a large photo needs no full-size map for each query and class.

    Args:
        class_logits: (Q, num_labels + 1), "no object" last.
        mask_logits: (Q, H / 4, W / 4).
        input_size: height and width of what the network saw.
        target_size: height and width of the photo.

    Returns:
        (height, width) int32.
    """
    queries, rows, columns = mask_logits.shape
    classes = mx.softmax(class_logits.astype(mx.float32), axis=-1)[:, :-1].T
    to_input = interpolation_matrix(rows, input_size[0], rows)
    to_target = interpolation_matrix(input_size[0], target_size[0], input_size[0])
    across_input = interpolation_matrix(columns, input_size[1], columns).T
    across_target = interpolation_matrix(input_size[1], target_size[1], input_size[1]).T
    wide = mask_logits.astype(mx.float32) @ across_input

    row_bytes = 4 * max(queries * input_size[1] * input_size[0] / target_size[0], len(classes) * target_size[1])
    strip = max(1, int(STRIP_BYTES / row_bytes))
    used = np.array(to_target) > 0
    strips = []
    for first in range(0, target_size[0], strip):
        part = slice(first, first + strip)
        needed = np.flatnonzero(used[part].any(axis=0))
        source = slice(int(needed[0]), int(needed[-1]) + 1)
        masks = mx.sigmoid(to_input[source] @ wide)
        scores = (classes @ masks.reshape(queries, -1)).reshape(len(classes), -1, input_size[1])
        scores = to_target[part, source] @ (scores @ across_target)
        strips.append(np.array(mx.argmax(scores, axis=0).astype(mx.int32)))
    return np.concatenate(strips)

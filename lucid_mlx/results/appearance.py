"""What a video's frames are compared by: what the network says of each segment beside its class and its mask."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx
import numpy as np

if TYPE_CHECKING:
    from lucid_mlx.results.segmentation import Segmentation


class Appearance(NamedTuple):
    """What a query of the network says of an image.

    Attributes:
        embedding: (C,) float32, the query after the decoder's last norm.
        class_probabilities: (num_labels,) float32, which add up to one less the probability of "no object".
        mask: (h, w) bool, where its mask is more likely than not, at the resolution of the mask logits.
    """

    embedding: np.ndarray
    class_probabilities: np.ndarray
    mask: np.ndarray


def appearances(
    results: list["Segmentation"], outputs: Mapping[str, Any], sizes: Mapping[str, Any]
) -> list[dict[int, Appearance]]:
    """Look up what the network says of the segments of a batch.

    Args:
        results: for each image.
        outputs: the network's, with `class_queries_logits`, `masks_queries_logits` and
            `transformer_decoder_intermediate_states`.
        sizes: `input_size` and `content_sizes` of the batch, as post-processing takes them.

    Returns:
        For each image the appearance of the queries that its segments come from, by the queries' numbers.
    """
    found: list[dict[int, Appearance]] = []
    for number, (result, content) in enumerate(zip(results, sizes["content_sizes"], strict=True)):
        queries = sorted({query for segment in result.segments for query in segment.queries})
        if not queries:
            found.append({})
            continue
        rows = mx.array(queries)
        logits = outputs["class_queries_logits"][number, rows].astype(mx.float32)
        # In the masks' resolution the part of the input that shows the image may end inside of a cell.
        shape = outputs["masks_queries_logits"].shape[2:]
        height, width = (
            -(-length * part // whole) for length, part, whole in zip(shape, content, sizes["input_size"], strict=True)
        )
        masks = outputs["masks_queries_logits"][number, rows, :height, :width] > 0
        states = outputs["transformer_decoder_intermediate_states"][-1][rows, number].astype(mx.float32)
        arrays = np.array(states), np.array(mx.softmax(logits, axis=-1)[:, :-1]), np.array(masks)
        found.append({query: Appearance(*each) for query, *each in zip(queries, *arrays, strict=True)})
    return found

"""MinVIS: video instances from a network for images, frame by frame (Huang, Yu, Anandkumar, NeurIPS 2022)."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import extract_logits
from lucid_mlx.video.match import match_queries


class MatchedQueries(NamedTuple):
    """The queries of the frames of a video, each in the order of the first frame's.

    Attributes:
        class_logits: (Q, num_labels + 1) float32, the mean over the frames.
        mask_logits: (Q, T, h, w) float32.
        embeddings: (Q, C) float32, of the last frame: match the next frames with them.
        matches: (T, Q) int32: row t says which query of frame t follows each query of frame 0.
    """

    class_logits: mx.array
    mask_logits: mx.array
    embeddings: mx.array
    matches: mx.array


def query_embeddings(outputs: Mapping[str, Any]) -> mx.array:
    """Return the embeddings by which queries are matched: the queries after the decoder's last norm.

    Args:
        outputs: what `Mask2Former.forward` or `forward_clip` returns.

    Returns:
        (B, Q, C) float32.
    """
    states: mx.array = outputs["transformer_decoder_intermediate_states"][-1]
    return states.swapaxes(0, 1).astype(mx.float32)


def match_frames(outputs: Iterable[Mapping[str, Any]]) -> MatchedQueries:
    """Match the queries of each frame with those of the frame before, and join them to queries of the video.

    Args:
        outputs: for each frame, or batch of frames, what `Mask2Former.forward` returns. They may be computed as they
            are asked for; the masks at a quarter of the sides are kept.

    Returns:
        The queries of the video, for `lucid_mlx.postprocessing.video_instances`.

    Raises:
        InputError: if there is no frame, or logits or embeddings are not finite.
    """
    total, masks, matches = mx.array(0.0), list[mx.array](), list[mx.array]()
    previous: mx.array | None = None
    for each in outputs:
        embeddings = query_embeddings(each)
        for class_logits, mask_logits, current in zip(*extract_logits(each), embeddings, strict=True):
            order = mx.arange(len(current)) if previous is None else match_queries(previous, current)
            previous, total = current[order], total + class_logits[order]
            masks.append(mask_logits[order])
            matches.append(order.astype(mx.int32))
            mx.eval(previous, total, masks[-1])
    if previous is None:
        raise InputError("there are no frames; expected the outputs of at least one")
    return MatchedQueries(total / len(masks), mx.stack(masks, axis=1), previous, mx.stack(matches))

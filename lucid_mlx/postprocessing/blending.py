"""A semantic map of a picture whose tiles overlap: the scores of their classes are blended."""

from collections.abc import Iterator, Sequence

import mlx.core as mx
import numpy as np

from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import ImageSizes
from lucid_mlx.postprocessing.tiles import axis_weights

BUFFER_BYTES = 32_000_000  # for the scores of rows of the picture
COLUMNS = 128  # of a tile that are resized together: each mixes few of the scores

Extent = tuple[int, int]  # the first pixel of a tile along an axis, and one more than the last


def low_scores(class_logits: mx.array, mask_logits: mx.array) -> np.ndarray:
    """Compute the score of each class, the sum over queries of p(class) x p(mask), where the masks have a value.

    Args:
        class_logits: (Q, num_labels + 1).
        mask_logits: (Q, h, w).

    Returns:
        (h, w, num_labels) float32.
    """
    return np.array(sigmoid(mask_logits.transpose(1, 2, 0)) @ softmax(class_logits)[:, :-1])


def blended_rows(
    scores: Iterator[Sequence[np.ndarray]],
    rows: Sequence[Extent],
    columns: Sequence[Extent],
    sizes: ImageSizes,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Make the map of a picture row by row of tiles.

    Where tiles overlap, the weight of each falls linearly towards its edge.

    Args:
        scores: for each row of tiles those of its tiles, as of `low_scores`.
        rows: where each row of tiles lies.
        columns: where each column of tiles lies.
        sizes: the sizes of a tile; the target size is that in the picture.

    Yields:
        Rows of the picture, from top to bottom, and the class of each of their pixels, (n, width) int32.
    """
    active: list[tuple[int, Sequence[np.ndarray]]] = []  # with the index of the row of tiles
    weights: list[tuple[np.ndarray, np.ndarray]] = []
    for index, tiles in enumerate(scores):
        if not weights:
            height, width = tiles[0].shape[:2]
            weights = [(axis_weights(height, sizes, 0), axis_weights(width, sizes, 1))]
            across = [weights[0][1] * _ramp(columns, column)[:, None] for column in range(len(columns))]
        start, stop = rows[index][0], rows[index + 1][0] if index + 1 < len(rows) else rows[index][1]
        active = [each for each in active if rows[each[0]][1] > start] + [(index, tiles)]
        step = max(1, BUFFER_BYTES // (4 * columns[-1][1] * tiles[0].shape[2]))
        for top in range(start, stop, step):
            bottom = min(top + step, stop)
            total = np.zeros((bottom - top, columns[-1][1], tiles[0].shape[2]), np.float32)
            for row, row_tiles in active:
                first, last = rows[row]
                used = slice(top - first, min(bottom, last) - first)
                down = (weights[0][0] * _ramp(rows, row)[:, None])[used]
                for (left, _), each, to_pixels in zip(columns, row_tiles, across, strict=True):
                    _add(total[: len(down), left:], each, down, to_pixels)
            yield slice(top, bottom), total.argmax(axis=-1).astype(np.int32)


def _add(total: np.ndarray, scores: np.ndarray, down: np.ndarray, across: np.ndarray) -> None:
    """Add resized scores, (h, w, num_labels), to (n, columns, num_labels)."""
    used = _used(down)
    width, num_labels = scores.shape[1:]
    strip = (down[:, used] @ scores[used].reshape(-1, width * num_labels)).reshape(-1, width, num_labels)
    for start in range(0, len(across), COLUMNS):
        part = across[start : start + COLUMNS]
        used = _used(part)
        total[:, start : start + len(part)] += part[:, used] @ strip[:, used]


def _used(weights: np.ndarray) -> slice:
    """Return the inputs that outputs mix: neighbors."""
    inputs = np.flatnonzero(weights.any(axis=0))
    return slice(inputs[0], inputs[-1] + 1) if len(inputs) else slice(0, 0)


def _ramp(extents: Sequence[Extent], index: int) -> np.ndarray:
    """Return the weights of a tile along an axis, (length,) float32: 1, and less where it overlaps its neighbors."""
    start, stop = extents[index]
    pixels = np.arange(start, stop) + 0.5
    weights = np.ones(len(pixels))
    if index > 0:
        weights = np.minimum(weights, (pixels - start) / (extents[index - 1][1] - start))
    if index + 1 < len(extents):
        weights = np.minimum(weights, (stop - pixels) / (stop - extents[index + 1][0]))
    return weights.astype(np.float32)

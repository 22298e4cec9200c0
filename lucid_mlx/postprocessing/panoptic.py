"""Panoptic segmentation: segments that do not overlap, one for each thing and one for each class of stuff."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import mlx.core as mx
import numpy as np

from lucid_mlx.backends import POSTPROCESSING
from lucid_mlx.ops import sigmoid, softmax
from lucid_mlx.postprocessing.inputs import ImageSizes, Outputs, Size, check_thresholds, extract_logits, image_sizes
from lucid_mlx.postprocessing.pruning import Decision, between, pruned_map
from lucid_mlx.postprocessing.tiles import compact, resized_tiles
from lucid_mlx.utils.validation import check_value, whole_numbers


@dataclass(frozen=True)
class PanopticSegment:
    """A segment of a panoptic map.

    Attributes:
        id: the segment's id in the map, from 1.
        label_id: id of its class.
        score: probability of the class, 0 to 1; the highest one if several queries were merged.
        area: number of pixels.
        queries: the network's queries that it comes from: one, or several that were merged.
    """

    id: int
    label_id: int
    score: float
    area: int
    queries: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class PanopticResult:
    """The panoptic segmentation of an image.

    Attributes:
        segmentation: (height, width) int32, the id of each pixel's segment; 0 for no segment.
        segments: the segments in the order of their ids.
        candidates: what another threshold needs; None unless `panoptic_segmentation` was asked to keep it.
    """

    segmentation: mx.array
    segments: list[PanopticSegment]
    candidates: "PanopticCandidates | None" = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class PanopticCandidates:
    """The queries of an image that are segments at some threshold: those whose likeliest class is an object.

    Attributes:
        queries: (N,) int, the network's queries.
        scores: (N,) float32, 0 to 1.
        label_ids: (N,) int.
        mask_logits: (N, h, w), in float16 if that holds them as they are, else in float32.
        sizes: the sizes of the image.
        thing_ids: as of `panoptic_segmentation`.
        mask_threshold: as of `panoptic_segmentation`.
        overlap_threshold: its `overlap_mask_area_threshold`.
    """

    queries: np.ndarray
    scores: np.ndarray
    label_ids: np.ndarray
    mask_logits: np.ndarray
    sizes: ImageSizes
    thing_ids: Collection[int]
    mask_threshold: float
    overlap_threshold: float

    def segment(self, threshold: float) -> PanopticResult:
        """Return what `panoptic_segmentation` returns with a threshold. Any thread may call it."""
        return POSTPROCESSING.run(self._segment, threshold)

    def _segment(self, threshold: float) -> PanopticResult:
        kept = self.scores > np.float32(threshold)
        scored = self.queries[kept], self.scores[kept], self.label_ids[kept]
        logits = mx.array(self.mask_logits[kept].astype(np.float32))
        result = _competition(scored, logits, self.sizes, self.thing_ids, self.mask_threshold, self.overlap_threshold)
        mx.eval(result.segmentation)
        return replace(result, candidates=self)


def panoptic_segmentation(
    outputs: Outputs,
    input_size: Size,
    target_sizes: Sequence[Size] | None = None,
    *,
    thing_ids: Collection[int],
    content_sizes: Sequence[Size] | None = None,
    threshold: float = 0.8,
    mask_threshold: float = 0.5,
    overlap_mask_area_threshold: float = 0.8,
    keep_candidates: bool = False,
) -> list[PanopticResult]:
    """Divide each image into segments, as the original project does.

    Queries with a class and a score above the threshold compete: a pixel goes to the query with the highest
    p(class) x p(mask), and stays empty if that query's p(mask) is below `mask_threshold`. A query that lost too much of
    its mask is dropped.

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        input_size: (height, width) of the network's input.
        target_sizes: (height, width) of each result; `content_sizes` if None.
        thing_ids: classes of things, each of which is a segment of its own; all queries of another class are merged
            into one segment.
        content_sizes: for each image the (height, width) of the top left part of the input that shows it, where the
            rest is padding; the whole input if None.
        threshold: a query competes if its class has a probability above this.
        mask_threshold: minimum probability of a mask's pixels.
        overlap_mask_area_threshold: a query is dropped if it won a smaller fraction of its mask.
        keep_candidates: keep in each result what another threshold needs.

    Returns:
        For each image the map, (height, width) int32, and its segments.

    Raises:
        InputError: if logits are missing or not finite, or a size does not fit.
    """
    check_thresholds(
        threshold=threshold,
        mask_threshold=mask_threshold,
        overlap_mask_area_threshold=overlap_mask_area_threshold,
    )
    check_value("keep_candidates", keep_candidates, bool)
    thing_ids = whole_numbers("thing_ids", thing_ids)
    class_logits, mask_logits = extract_logits(outputs)
    sizes = image_sizes(len(class_logits), input_size, content_sizes, target_sizes)
    return [
        _panoptic(*image, thing_ids, threshold, mask_threshold, overlap_mask_area_threshold, keep_candidates)
        for image in zip(class_logits, mask_logits, sizes, strict=True)
    ]


def kept_queries(class_logits: mx.array, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the queries whose likeliest class is not "no object" and has a score above the threshold.

    Args:
        class_logits: (Q, num_labels + 1).
        threshold: the score must be above this.

    Returns:
        Indices, scores and label ids of these queries, each (N,).
    """
    probabilities = np.array(softmax(class_logits))
    label_ids, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    kept = np.flatnonzero((label_ids < probabilities.shape[1] - 1) & (scores > np.float32(threshold)))
    return kept, scores[kept], label_ids[kept]


def _panoptic(
    class_logits: mx.array,
    mask_logits: mx.array,
    sizes: ImageSizes,
    thing_ids: Collection[int],
    threshold: float,
    mask_threshold: float,
    overlap_threshold: float,
    keep_candidates: bool,
) -> PanopticResult:
    scored = kept_queries(class_logits, threshold)
    rest = sizes, thing_ids, mask_threshold, overlap_threshold
    result = _competition(scored, mask_logits[mx.array(scored[0])], *rest)
    if not keep_candidates:
        return result
    queries, scores, label_ids = kept_queries(class_logits, 0.0)
    logits = compact(mask_logits[mx.array(queries)])
    return replace(result, candidates=PanopticCandidates(queries, scores, label_ids, logits, *rest))


def _competition(
    scored: tuple[np.ndarray, np.ndarray, np.ndarray],
    mask_logits: mx.array,
    sizes: ImageSizes,
    thing_ids: Collection[int],
    mask_threshold: float,
    overlap_threshold: float,
) -> PanopticResult:
    """Let queries compete for the pixels: what `kept_queries` returned, and their mask logits, (N, h, w)."""
    kept, scores, label_ids = scored
    if not len(kept):
        return PanopticResult(mx.zeros(sizes.target_size, mx.int32), [])
    codes, counts = _codes(mask_logits, scores, sizes, mask_threshold)
    won_areas, areas = counts.codes.reshape(-1, 2).sum(axis=1), counts.codes[1::2]

    segments: dict[int, PanopticSegment] = {}
    merged: dict[int, int] = {}  # from a class of stuff to the id of its segment
    code_to_id = np.zeros(2 * len(kept), np.int32)
    for query, (score, label_id) in enumerate(zip(scores.tolist(), label_ids.tolist(), strict=True)):
        area = int(areas[query])
        if area == 0 or won_areas[query] / counts.masks[query] < overlap_threshold:
            continue
        segment_id = merged.get(label_id, len(segments) + 1)
        if label_id not in thing_ids:
            merged[label_id] = segment_id
        queries: tuple[int, ...] = (int(kept[query]),)
        if earlier := segments.get(segment_id):
            score, area, queries = max(score, earlier.score), area + earlier.area, earlier.queries + queries
        segments[segment_id] = PanopticSegment(segment_id, label_id, score, area, queries)
        code_to_id[2 * query + 1] = segment_id
    return PanopticResult(mx.array(code_to_id)[mx.array(codes)], list(segments.values()))


class _Counts:
    """How many pixels have each code, and how many lie in the mask of each query.

    Args:
        queries: number of queries, Q.

    Attributes:
        codes: (2 * Q,) int64.
        masks: (Q,) int64.
    """

    def __init__(self, queries: int):
        self.codes, self.masks = np.zeros(2 * queries, np.int64), np.zeros(queries, np.int64)

    def add(self, codes: np.ndarray, inside: np.ndarray, pixels: np.ndarray) -> None:
        """Count N groups of pixels, each of one code, in or outside of each mask, (N, Q)."""
        self.codes += np.bincount(codes, pixels, len(self.codes)).astype(np.int64)
        # Whole numbers; without NumPy's BLAS, whose threads wait busily for more.
        self.masks += np.einsum("n,nq->q", pixels.astype(np.float64), inside).astype(np.int64)


def _codes(
    mask_logits: mx.array, scores: np.ndarray, sizes: ImageSizes, mask_threshold: float
) -> tuple[np.ndarray, _Counts]:
    """Compute the code of each pixel: 2 x (index of the winning query) + (1 if the pixel lies in that query's mask).

    Args:
        mask_logits: (Q, h, w), of the queries that compete.
        scores: (Q,).
        sizes: the sizes of the image.
        mask_threshold: minimum probability of a mask's pixels.

    Returns:
        The codes, (height, width), and their counts.
    """
    dtype = np.min_scalar_type(2 * len(scores))
    rule = _BestQuery(scores, mask_threshold)
    codes = pruned_map(mask_logits, sizes, rule, dtype)
    if codes is None:
        codes, rule = np.empty(sizes.target_size, dtype), _BestQuery(scores, mask_threshold)
        for tile in resized_tiles(mask_logits, sizes, len(scores)):
            height, width, queries = tile.logits.shape
            pixels = rule.values(tile.logits.reshape(-1, queries), np.ones(height * width, np.int64))
            codes[tile.region] = pixels.reshape(height, width)
    return codes, rule.counts


class _BestQuery:
    """The rule that a pixel goes to the query with the highest score x mask probability; it counts what it decides.

    Args:
        scores: (Q,) float32.
        mask_threshold: minimum probability of a mask's pixels.

    Attributes:
        counts: of the pixels so far.
    """

    def __init__(self, scores: np.ndarray, mask_threshold: float):
        self._scores, self._mask_threshold = scores, np.float32(mask_threshold)
        self.counts = _Counts(len(scores))

    def coarse(self) -> None:
        """See `Rule`: the queries are few already."""

    def among(self, possible: np.ndarray) -> "_BestQuery":
        """See `Rule`: other queries count too, for the sizes of their masks."""
        return self

    def decide(self, low: mx.array, high: mx.array, areas: np.ndarray) -> Decision:
        """Decide who wins, and which masks the pixels lie in; see `Rule`.

        A query that wins everywhere in a group has the largest of all bounds there.
        """
        mx.eval(low, high)
        lowest, highest = np.array(low, copy=False), np.array(high, copy=False)
        numbers = np.arange(len(lowest))
        bounds = highest * self._scores
        winner = bounds.argmax(axis=1)
        least = lowest[numbers, winner] * self._scores[winner]
        bounds[numbers, winner] = -1.0
        inside = lowest >= self._mask_threshold
        decided = (least > bounds.max(axis=1)) & (inside == (highest >= self._mask_threshold)).all(axis=1)
        codes = 2 * winner + inside[numbers, winner]
        self.counts.add(codes[decided], inside[decided], areas[decided])
        return Decision(codes, decided, np.empty((len(codes), 0), np.uint8))

    def mix(self, logits: mx.array) -> mx.array:
        """See `Rule`."""
        return logits

    def decide_between(self, mixed: mx.array, areas: np.ndarray) -> Decision:
        """See `Rule`."""
        masks = sigmoid(mixed)
        return self.decide(between(mx.minimum, masks), between(mx.maximum, masks), areas)

    def values(self, mixed: mx.array, counts: np.ndarray) -> np.ndarray:
        """See `Rule`."""
        probabilities = np.array(sigmoid(mixed), copy=False)
        winner = (probabilities * self._scores).argmax(axis=1)
        inside = probabilities >= self._mask_threshold
        codes = 2 * winner + inside[np.arange(len(winner)), winner]
        self.counts.add(codes, inside, counts)
        return codes

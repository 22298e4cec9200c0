"""Whole clips at once: each query is one object in all frames. Longer films are cut into windows that overlap."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple, cast

import mlx.core as mx
import numpy as np
from scipy.optimize import linear_sum_assignment

from lucid_mlx.compiled import LOGITS
from lucid_mlx.errors import InputError
from lucid_mlx.inference import Inference, Logits, check_memory, in_background
from lucid_mlx.postprocessing import Instances
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.postprocessing.instance import top_pairs
from lucid_mlx.postprocessing.video import video_instances
from lucid_mlx.preprocessing import preprocess
from lucid_mlx.preprocessing.image_config import Size
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.video.clips import most_frames
from lucid_mlx.video.minvis import match_frames, query_embeddings
from lucid_mlx.video.tracking import tracked

MAX_RESULTS = 10  # of a clip, as the original project takes
MAX_WINDOW = 36  # frames: YouTube-VIS's films have at most so many, and the original project takes them whole
OVERLAP = 1  # frames that a window shares with the one before it
LEAST_SIMILARITY = 1.0  # cosine of two queries + IoU of their masks in the frames that both windows have


class Clip(NamedTuple):
    """What a network says of a clip of T frames.

    Attributes:
        frames: T arrays (H, W, 3) uint8, RGB.
        input_size: (height, width) of the network's input.
        content_sizes: for each frame the (height, width) of the top left part of the input that shows it.
        class_logits: (Q, num_labels + 1) float32, "no object" last.
        mask_logits: (Q, T, h, w) float32.
        embeddings: (Q, C) float32.
    """

    frames: list[np.ndarray]
    input_size: Size
    content_sizes: Sequence[Size]
    class_logits: mx.array
    mask_logits: mx.array
    embeddings: mx.array


class ClipTracks:
    """Gives the results of clips their track ids: a query and a class are one track."""

    def __init__(self) -> None:
        self._numbers, self._queries = count(1), count(1)
        self._ids: dict[tuple[int, int], int] = {}  # from an object and a class to a track
        self._before: tuple[Clip, list[int]] | None = None

    def results(
        self, clip: Clip, segmenter: Segmenter, thresholds: Thresholds, skip: int = 0
    ) -> Iterator[Segmentation]:
        """Yield the results of a clip's frames.

        Args:
            clip: the clip. If it follows another one, its first frames are that one's last `OVERLAP`.
            segmenter: for its labels and things.
            thresholds: what counts as found.
            skip: first frames that were in the clip before.

        Yields:
            The result of each frame after those, whose segments have a `track_id`.
        """
        objects = self._join(clip, skip)
        self._before = clip, objects
        for number in range(skip, len(clip.frames)):
            result = in_background(_frame_result, clip, number, segmenter, thresholds)
            yield tracked(result, [self._id(objects[one.queries[0]], one.label_id) for one in result.segments])

    def _id(self, thing: int, label_id: int) -> int:
        if (thing, label_id) not in self._ids:
            self._ids[thing, label_id] = next(self._numbers)
        return self._ids[thing, label_id]

    def _join(self, clip: Clip, shared: int) -> list[int]:
        """Return the number of each query's object, that of a query of the clip before or a new one."""
        objects = [next(self._queries) for _ in range(len(clip.class_logits))]
        if self._before is not None and shared:
            before, numbers = self._before
            for row, column in in_background(joined_queries, before, clip, shared):
                objects[column] = numbers[row]
        return objects


def joined_queries(before: Clip, after: Clip, shared: int) -> list[tuple[int, int]]:
    """Find which queries of two clips are of one object.

    Args:
        before: a clip.
        after: a clip whose first frames are that one's last.
        shared: how many.

    Returns:
        Pairs of a query of the one and a query of the other.
    """
    one, other = (np.array(clip.embeddings) for clip in (before, after))
    one, other = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (one, other))
    masks = [
        np.array(logits > 0).reshape(len(logits), -1).astype(np.float32)
        for logits in (before.mask_logits[:, -shared:], after.mask_logits[:, :shared])
    ]
    both = masks[0] @ masks[1].T
    union = masks[0].sum(axis=1)[:, None] + masks[1].sum(axis=1) - both
    similarity = one @ other.T + both / np.maximum(union, 1)
    pairs = zip(*linear_sum_assignment(similarity, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if similarity[row, column] >= LEAST_SIMILARITY]


class _FrameInstances(NamedTuple):
    """The objects of a frame of a clip, as `Segmentation.from_instances` takes them: each may be empty."""

    label_ids: np.ndarray
    scores: np.ndarray
    queries: np.ndarray
    all_masks: np.ndarray

    def masks(self, indices: list[int]) -> np.ndarray:
        """Return some masks, (n, height, width) bool."""
        return self.all_masks[indices]


def _frame_result(clip: Clip, number: int, segmenter: Segmenter, thresholds: Thresholds) -> Segmentation:
    """Return what a clip's queries found in one frame: the same classes and scores in all, and the masks there."""
    frame, top_k = clip.frames[number], min(MAX_RESULTS, thresholds.top_k)
    queries, _, _ = top_pairs(clip.class_logits, top_k)
    masks, target, content = clip.mask_logits[:, number : number + 1], frame.shape[:2], clip.content_sizes[number]
    found = video_instances(clip.class_logits, masks, clip.input_size, target, content, top_k)
    things = np.ones(len(queries), bool)
    if segmenter.thing_ids is not None:
        things = np.isin(found.labels, list(segmenter.thing_ids))
    instances = _FrameInstances(found.labels[things], found.scores[things], queries[things], found.masks[things, 0])
    threshold = thresholds.score_threshold("instance")
    return Segmentation.from_instances(frame, cast(Instances, instances), threshold, segmenter.labels)


def clip_frames(
    frames: Iterable[np.ndarray], segmenter: Segmenter, thresholds: Thresholds, window: int | None
) -> Iterator[Segmentation]:
    """Segment a film by clips.

    Args:
        frames: arrays (H, W, 3) uint8, RGB.
        segmenter: with a network for clips.
        thresholds: what counts as found.
        window: frames of a clip; None for what the memory allows, `MAX_WINDOW` at most.

    Yields:
        The result of each frame, whose segments have a `track_id`.

    Raises:
        InputError: if not even a clip of two frames fits into memory, or the frames differ in size.
    """
    iterator, tracks, inference = iter(frames), ClipTracks(), Inference(segmenter.model)
    first = list(islice(iterator, 1))
    if not first:
        return
    length = window or _window(segmenter, first[0])
    shared: list[np.ndarray] = []
    new = first + list(islice(iterator, length - 1))
    while new:
        following = list(islice(iterator, length - OVERLAP))
        if following and not shared:
            warnings.warn(
                f"the film has more than {length} frames: it is cut into windows of {length}, which share "
                f"{OVERLAP} frame, and whose objects are joined by their queries and masks",
                stacklevel=2,
            )
        clip = _run(inference, shared + new, segmenter)
        yield from tracks.results(clip, segmenter, thresholds, len(shared))
        shared, new = clip.frames[-OVERLAP:], following


def minvis_frames(
    frames: Iterable[np.ndarray], segmenter: Segmenter, thresholds: Thresholds, batch_size: int
) -> Iterator[Segmentation]:
    """Segment a film as MinVIS does: its queries are matched frame by frame, their class logits averaged over all.

    Args:
        frames: arrays (H, W, 3) uint8, RGB. All are kept.
        segmenter: with a network for images.
        thresholds: what counts as found.
        batch_size: frames that run together.

    Yields:
        The result of each frame, whose segments have a `track_id`; the first after the last frame was read.

    Raises:
        InputError: if the frames differ in size, or do not fit into memory.
    """
    iterator, inference = iter(frames), Inference(segmenter.model)
    kept: list[np.ndarray] = []
    contents: list[Size] = []
    outputs: list[Logits] = []
    size = 0, 0
    while batch := list(islice(iterator, batch_size)):
        kept += batch
        _check_sizes(kept)
        images = preprocess(batch, segmenter.image_config)
        size = images.pixels.shape[1], images.pixels.shape[2]
        check_memory(segmenter.model, *size, len(batch))
        contents += images.content_sizes
        outputs.append(inference.start(images.pixels).logits())
    if outputs:
        found = in_background(match_frames, outputs)
        clip = Clip(kept, size, contents, found.class_logits, found.mask_logits, found.embeddings)
        yield from ClipTracks().results(clip, segmenter, thresholds)


def _check_sizes(frames: list[np.ndarray]) -> None:
    if len({frame.shape for frame in frames}) > 1:
        raise InputError("the frames of a clip must have one size; segment each part of the film alone")


def _window(segmenter: Segmenter, frame: np.ndarray) -> int:
    """Return how many frames like this are a clip: half of those that fit into memory, within bounds."""
    most = most_frames(segmenter.model, *segmenter.image_config.input_size(*frame.shape[:2]))
    return max(OVERLAP + 1, min(most // 2, MAX_WINDOW))


def _run(inference: Inference, frames: list[np.ndarray], segmenter: Segmenter) -> Clip:
    _check_sizes(frames)
    images = preprocess(frames, segmenter.image_config)
    height, width = images.pixels.shape[1:3]
    return Clip(frames, (height, width), images.content_sizes, *in_background(_of_clip, inference.clip(images.pixels)))


def _of_clip(outputs: Logits) -> tuple[mx.array, mx.array, mx.array]:
    """Return the class logits, the mask logits and the embeddings of a batch of one clip."""
    arrays = tuple(outputs[name][0].astype(mx.float32) for name in LOGITS)
    embeddings = query_embeddings(outputs)[0]
    mx.eval(arrays, embeddings)
    return *arrays, embeddings

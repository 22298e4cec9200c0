"""Follow objects from frame to frame: identities of the segments that a network finds in a video.

The segments of a frame are compared with the tracks so far in five ways: by the embeddings of the queries that found
them, by these among all others, by the probabilities of the classes, by the overlap of the masks, moved as camera and
object move, and by colors. A weighted sum says how probable it is that two are one object (as in logistic regression),
and the assignment with the largest sum of probabilities is taken, first for the tracks that the frame before had, then
for those that were lost. How weights and constants were chosen: docs/video.md.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from lucid_mlx.errors import InputError
from lucid_mlx.results import Segmentation
from lucid_mlx.results.appearance import Appearance
from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.validation import check_value, whole_numbers
from lucid_mlx.video.camera import Camera

MEMORY = 150  # frames for which a lost track is kept: five or six seconds
MAX_TRACKS = 300  # that are kept, of which most are lost ones
CELLS = 16_384  # masks are compared in about so many cells
COLOR_LEVELS = 4  # of each channel, in histograms of colors
TEMPERATURE, STRANGER = 0.2, 0.3  # of the softmax over cosines of embeddings, which has one more, of a stranger
FADING, FORGOTTEN = 10.0, 3.0  # frames after which a lost track's place counts e times less; after so often, nothing
RENEWAL = 0.5  # how much of a track's embedding, classes and colors a segment of score 1 replaces
VELOCITY = 0.5  # how much of what a velocity was wrong by it is corrected
DUPLICATE_IOU = 0.6  # intersection over union from which two instances in a frame are one object
LEAST_PROBABILITY = 0.5  # that a segment continues a track


class Weights(NamedTuple):
    """Of the similarities, in the logarithm of the odds that a segment continues a track."""

    bias: float = -7.0
    embedding: float = 1.5
    rank: float = 2.5
    classes: float = 0.3
    overlap: float = 5.0
    color: float = 5.5


WEIGHTS = Weights()


class _Looks(NamedTuple):
    """What N segments are compared by.

    Attributes:
        embeddings: (N, C) float32, of length 1.
        classes: (N, num_labels) float32, square roots of the probabilities.
        colors: (N, bins) float32, square roots of the shares.
        masks: (N, h, w) bool.
        scores: (N,) float32.
    """

    embeddings: np.ndarray
    classes: np.ndarray
    colors: np.ndarray
    masks: np.ndarray
    scores: np.ndarray

    def choose(self, numbers: list[int]) -> "_Looks":
        """Return some of them."""
        return _Looks(*(field[numbers] for field in self))


@dataclass
class _Track:
    """An object that was seen.

    Attributes:
        id: its number.
        embedding: (C,) float32 of length 1, a mean of all, the newest of which count most.
        last_embedding: (C,), of the last segment.
        classes: (num_labels,) float32, a mean as well; and so is `colors`, (bins,).
        mask: (height, width) bool, of the last segment, no larger than it, and `corner`, its first row and column.
        last_center: (2,), row and column of its center.
        center: (2,), where that is expected in the frame at hand.
        velocity: (2,), of the center, less that of the camera, in cells a frame.
        age: frames since the last segment.
    """

    id: int
    embedding: np.ndarray
    last_embedding: np.ndarray
    classes: np.ndarray
    colors: np.ndarray
    mask: np.ndarray
    corner: tuple[int, int]
    last_center: np.ndarray
    center: np.ndarray
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    age: int = 0


class Tracker:
    """Gives the segments of the frames of a video track ids: whole numbers from 1, each of one object.

    A thing is followed as the module says. A class of stuff, and each class of a semantic segmentation, is one track.
    Where the film is cut all tracks end. The order of a frame's queries makes no difference.

    Args:
        thing_ids: the classes that have countable objects; None if all have.
        memory: for how many frames a lost track can be found again.
    """

    def __init__(self, thing_ids: Collection[int] | None = None, memory: int = MEMORY):
        check_value("memory", memory, int, 0, 1_000_000)
        self._thing_ids = None if thing_ids is None else frozenset(whole_numbers("thing_ids", thing_ids))
        self._memory = memory
        self._numbers = count(1)
        self._camera = Camera()
        self._tracks: list[_Track] = []
        self._stuff: dict[int, int] = {}  # from a class to its track

    def update(self, frame: Segmentation) -> list[int | None]:
        """Track the segments of the next frame.

        Args:
            frame: the frame's segmentation, of `Segmenter.stream(..., for_tracking=True)`.

        Returns:
            The track id of each segment, in the order of `frame.segments`; None for a near-duplicate of an instance
            with a higher score: one object has one identity.

        Raises:
            InputError: if the result keeps nothing to track by.
        """
        check_value("frame", frame, Segmentation)
        appearances = frame._appearances
        if appearances is None:
            raise InputError("the frame has nothing to track by; get it from Segmenter.stream(..., for_tracking=True)")
        things = [one for one in frame.segments if self._is_thing(frame.task, one)]
        things.sort(key=_order)
        image = _small_image(frame.image)
        motion = self._camera.update(image)
        if motion.cut:
            self._tracks, self._stuff = [], {}
        size = np.array(image.shape[:2])
        for track in self._tracks:
            track.age += 1
            track.center = track.center + motion.shift * size + track.velocity
        looks = _looks([appearances[one.queries[0]] for one in things], things, image)
        ids: dict[int, int | None] = {one.id: None for one in things}
        if frame.task == "instance":
            distinct = _distinct(looks.masks)
            things, looks = [things[number] for number in distinct], looks.choose(distinct)
        ids.update(zip((one.id for one in things), self._follow(looks), strict=True))
        for one in sorted(frame.segments, key=_order):
            if one.id not in ids:
                if one.label_id not in self._stuff:
                    self._stuff[one.label_id] = next(self._numbers)
                ids[one.id] = self._stuff[one.label_id]
        return [ids[one.id] for one in frame.segments]

    def _is_thing(self, task: str, segment: Segment) -> bool:
        return task != "semantic" and (self._thing_ids is None or segment.label_id in self._thing_ids)

    def _follow(self, looks: _Looks) -> list[int]:
        """Return the track ids of things, and renew the tracks."""
        found: dict[int, _Track] = {}
        for lost in (False, True):
            tracks = [track for track in self._tracks if (track.age > 1) == lost and track.age > 0]
            waiting = [number for number in range(len(looks.scores)) if number not in found]
            if tracks and waiting:
                probabilities = _probabilities(tracks, looks.choose(waiting))
                for row, column in zip(*linear_sum_assignment(probabilities, maximize=True), strict=True):
                    if probabilities[row, column] > LEAST_PROBABILITY:
                        found[waiting[column]] = tracks[row]
        for number, track in found.items():
            _renew(track, looks, number)
        for number in range(len(looks.scores)):
            if number not in found:
                found[number] = _new_track(next(self._numbers), looks, number)
                self._tracks.append(found[number])
        self._tracks = sorted((one for one in self._tracks if one.age <= self._memory), key=lambda one: one.age)
        del self._tracks[MAX_TRACKS:]
        return [found[number].id for number in range(len(looks.scores))]


def tracked(result: Segmentation, ids: Sequence[int | None]) -> Segmentation:
    """Give a frame's segments their tracks.

    Args:
        result: of the frame.
        ids: the id of each segment's track; None for those to leave out.

    Returns:
        The result with these, without what they were found by.
    """
    by_segment = {one.id: number for one, number in zip(result.segments, ids, strict=True) if number is not None}
    if len(by_segment) < len(result.segments):
        result = result.only([one for one in result.segments if one.id in by_segment])
    segments = tuple(replace(one, track_id=by_segment[one.id]) for one in result.segments)
    return replace(result, segments=segments, _appearances=None)


def _distinct(masks: np.ndarray) -> list[int]:
    """Return the numbers of the masks, (N, h, w) bool, that are no near-duplicates of one before them."""
    flat = masks.reshape(len(masks), masks.shape[1] * masks.shape[2]).astype(np.float32)
    both = flat @ flat.T
    areas = both.diagonal()
    duplicate = both > DUPLICATE_IOU * (areas[:, None] + areas - both)
    distinct: list[int] = []
    for number in range(len(masks)):
        if not duplicate[number, distinct].any():
            distinct.append(number)
    return distinct


def _order(segment: Segment) -> tuple[float, int, tuple[int, ...]]:
    """Sort segments by what does not depend on the order of the queries."""
    return -(segment.score or 0.0), segment.label_id, segment.box


def _small_image(image: np.ndarray) -> np.ndarray:
    """Return a frame with about `CELLS` pixels, or its own if it has fewer, (h, w, 3) uint8."""
    height, width = image.shape[:2]
    scale = min(1.0, (CELLS / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def _looks(appearances: list[Appearance], segments: list[Segment], image: np.ndarray) -> _Looks:
    """Prepare what segments are compared by."""
    if not segments:
        empty = np.zeros((0, 1), np.float32)
        return _Looks(empty, empty, empty, np.zeros((0, *image.shape[:2]), bool), np.zeros(0))
    rows, columns = (
        ((np.arange(side) + 0.5) * length / side).astype(int)
        for side, length in zip(image.shape[:2], appearances[0].mask.shape, strict=True)
    )
    masks = np.stack([one.mask[rows[:, None], columns] for one in appearances])
    embeddings = np.stack([_unit(one.embedding) for one in appearances])
    probabilities = np.stack([one.class_probabilities for one in appearances])
    codes = (image.astype(np.int32) * COLOR_LEVELS // 256) @ COLOR_LEVELS ** np.arange(3)
    histograms = np.stack([np.bincount(codes[mask], minlength=COLOR_LEVELS**3) for mask in masks])
    colors = np.sqrt(histograms / np.maximum(histograms.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    scores = np.array([one.score or 0.0 for one in segments])
    return _Looks(embeddings, np.sqrt(probabilities), colors, masks, scores)


def _probabilities(tracks: list[_Track], looks: _Looks) -> np.ndarray:
    """Return how probably each track goes on in each segment, (tracks, N)."""
    features = similarities(tracks, looks)
    odds = WEIGHTS.bias + sum(getattr(WEIGHTS, name) * value for name, value in features.items())
    probabilities: np.ndarray = 1.0 / (1.0 + np.exp(-odds))
    return probabilities


def similarities(tracks: list[_Track], looks: _Looks) -> dict[str, np.ndarray]:
    """Compare tracks with segments.

    Args:
        tracks: T of them.
        looks: N segments.

    Returns:
        By the names of `Weights`, (T, N) each, 0 to 1.
    """
    cosines = np.maximum(
        *(
            np.stack([getattr(track, name) for track in tracks]) @ looks.embeddings.T
            for name in ("embedding", "last_embedding")
        )
    )
    powers = np.exp(cosines / TEMPERATURE)
    stranger = np.exp(STRANGER / TEMPERATURE)
    rank = (powers / (powers.sum(axis=0) + stranger) + powers / (powers.sum(axis=1, keepdims=True) + stranger)) / 2
    return {
        "embedding": cosines,
        "rank": rank,
        "classes": np.sqrt(np.stack([track.classes for track in tracks])) @ looks.classes.T,
        "overlap": _overlaps(tracks, looks.masks),
        "color": np.sqrt(np.stack([track.colors for track in tracks])) @ looks.colors.T,
    }


def _overlaps(tracks: list[_Track], masks: np.ndarray) -> np.ndarray:
    """Compare tracks, where they are expected, with masks.

    Args:
        tracks: T of them.
        masks: (N, h, w) bool.

    Returns:
        (T, N) float32, the intersection over union, less for tracks that were lost long ago. What was not in the
        picture when a track was last seen counts neither for nor against it.
    """
    overlaps = np.zeros((len(tracks), len(masks)), np.float32)
    recent = [index for index, track in enumerate(tracks) if track.age <= FORGOTTEN * FADING]
    if not recent:
        return overlaps
    height, width = masks.shape[1:]
    sums = np.zeros((len(masks), height + 1, width + 1), np.int32)  # of the cells above and to the left
    np.cumsum(np.cumsum(masks, axis=1, dtype=np.int32), axis=2, out=sums[:, 1:, 1:])

    def inside(top: int, bottom: int, left: int, right: int) -> np.ndarray:
        return sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]

    for index in recent:
        track = tracks[index]
        down, right = np.clip(np.round(track.center - track.last_center), -height - width, height + width).astype(int)
        seen = max(0, down), height + min(0, down), max(0, right), width + min(0, right)
        top, left = track.corner[0] + down, track.corner[1] + right
        bottom, end = top + track.mask.shape[0], left + track.mask.shape[1]
        rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, end))
        if rows.start < rows.stop and columns.start < columns.stop:
            moved = track.mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            both = np.count_nonzero(masks[:, rows, columns] & moved, axis=(1, 2))
            union = np.count_nonzero(moved) + inside(*seen) - both
            overlaps[index] = np.exp(-(track.age - 1) / FADING) * both / np.maximum(union, 1)
    return overlaps


def _new_track(number: int, looks: _Looks, index: int) -> _Track:
    embedding, mask = looks.embeddings[index], looks.masks[index]
    classes, colors, center = looks.classes[index] ** 2, looks.colors[index] ** 2, _center(mask)
    return _Track(number, embedding, embedding, classes, colors, *_cropped(mask), center, center)


def _renew(track: _Track, looks: _Looks, index: int) -> None:
    """Let a segment continue a track."""
    mask = looks.masks[index]
    share, center = RENEWAL * float(looks.scores[index]), _center(mask)
    # What the camera does is in the expected center already.
    track.velocity = track.velocity + VELOCITY * (center - track.center) if track.age == 1 else np.zeros(2)
    if mask[[0, -1]].any() or mask[:, [0, -1]].any():
        track.velocity = np.zeros(2)  # of an object that leaves or enters the picture the center moves in another way
    track.mask, track.corner = _cropped(mask)
    track.last_center, track.center, track.age = center, center, 0
    track.last_embedding = looks.embeddings[index]
    track.embedding = _unit((1 - share) * track.embedding + share * track.last_embedding)
    track.classes = (1 - share) * track.classes + share * looks.classes[index] ** 2
    track.colors = (1 - share) * track.colors + share * looks.colors[index] ** 2


def _cropped(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the part of a mask in its bounding box, and that box's first row and column."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros((0, 0), bool), (0, 0)
    top, left = int(rows[0]), int(columns[0])
    return mask[top : rows[-1] + 1, left : columns[-1] + 1].copy(), (top, left)


def _center(mask: np.ndarray) -> np.ndarray:
    """Return the mean row and column of a mask, (2,)."""
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    area = max(1, int(rows.sum()))
    return np.array([rows @ np.arange(len(rows)), columns @ np.arange(len(columns))]) / area


def _unit(x: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(x))
    return x / length if length > 0 else x

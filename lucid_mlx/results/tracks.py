"""Tracks of a video's objects, its frames, and masks as compressed run lengths (COCO's RLE)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.results.segment import Segment


@dataclass(frozen=True)
class Track:
    """An object over the frames in which it was found.

    Attributes:
        id: the same in all frames, from 1.
        label_id: id of its class: of those that its segments have, the one with the highest sum of scores.
        label: name of its class.
        score: mean of the scores, 0 to 1; None in a semantic segmentation, whose classes have no score.
        scores: the score in each frame in which it was found, by the frame's index.
        first_frame: index of the first frame in which it was found.
        last_frame: index of the last one.
    """

    id: int
    label_id: int
    label: str
    score: float | None
    scores: Mapping[int, float | None] = field(repr=False)
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class Frame:
    """What was found in a frame.

    Attributes:
        index: its index among the frames, from 0.
        time: its time in the video in seconds; None if it has none.
        segments: its segments, in the order of the frame's `Segmentation`. Each has a `track_id`.
    """

    index: int
    time: float | None
    segments: tuple[Segment, ...]


class TrackMasks(Sequence[np.ndarray]):
    """The masks of a track in all frames, each decompressed when it is indexed.

    Args:
        runs: of each frame the compressed run lengths; None where the track was not found.
        size: (height, width) of a frame.

    Attributes:
        shape: (T, H, W).
        dtype: bool.
    """

    def __init__(self, runs: Sequence[bytes | None], size: tuple[int, int]):
        self._runs = runs
        self.shape = (len(runs), *size)
        self.dtype = np.dtype(bool)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: Any) -> Any:
        """Return the mask of a frame, (H, W) bool; of a slice the masks of some frames, without decompressing them."""
        if isinstance(index, slice):
            return TrackMasks(self._runs[index], self.shape[1:])
        runs = self._runs[index]
        return np.zeros(self.shape[1:], bool) if runs is None else decode_mask(runs, self.shape[1:])

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all masks as an array, (T, H, W)."""
        if copy is False:
            raise ValueError("the masks of a track are compressed; an array of them is always a copy")
        masks = np.empty(self.shape, bool if dtype is None else dtype)
        for place, mask in zip(masks, self, strict=True):
            place[:] = mask
        return masks


def track_of(track_id: int, segments: Sequence[tuple[int, Segment]]) -> Track:
    """Return a track.

    Args:
        track_id: its id.
        segments: its segments, each with the index of its frame.

    Returns:
        The track.
    """
    weights: defaultdict[tuple[int, str], float] = defaultdict(float)
    for _, segment in segments:
        weights[segment.label_id, segment.label] += 1.0 if segment.score is None else segment.score
    label_id, label = max(weights, key=lambda key: weights[key])
    scores = {frame: segment.score for frame, segment in segments}
    known = [score for score in scores.values() if score is not None]
    mean = sum(known) / len(known) if known else None
    return Track(track_id, label_id, label, mean, scores, segments[0][0], segments[-1][0])


def encode_mask(mask: np.ndarray) -> bytes:
    """Return the compressed run lengths of a mask, (H, W) bool."""
    counts: bytes = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))["counts"]
    return counts


def decode_mask(counts: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return a mask.

    Args:
        counts: compressed run lengths.
        size: (height, width).

    Returns:
        (H, W) bool.
    """
    mask: np.ndarray = coco_mask.decode({"size": list(size), "counts": counts})
    return mask.view(bool)

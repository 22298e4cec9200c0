"""The result of a video's segmentation: tracks and frames, whose masks are kept as run lengths."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.results.packed_mask import pack
from lucid_mlx.results.segment import Segment
from lucid_mlx.results.segmentation import VOID_IDS, Segmentation
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.utils.validation import check_choice, check_value
from lucid_mlx.visualization.colors import check_labels

MAX_SUMMARY_ITEMS = 8


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


class VideoSegmentation:
    """The segments of a video's frames, and the tracks that they belong to.

    It is built frame by frame, and keeps masks as run lengths (COCO's RLE), some hundred bytes each. It keeps no frame.

    Args:
        task: "semantic", "instance" or "panoptic".
        labels: names of all classes of the network, by class id.
        name: the video's file name, if any.

    Attributes:
        task: as above.
        labels: as above.
        name: as above.
    """

    def __init__(self, task: str, labels: Mapping[int, str], name: str | None = None):
        check_choice("task", task, TASKS)
        check_labels(labels)
        check_value("name", name, str | None)
        self.task, self.labels, self.name = task, labels, name
        self._size: tuple[int, int] | None = None
        self._frames: list[Frame] = []
        self._runs: list[dict[int, bytes]] = []  # of each frame: a track's compressed run lengths
        self._tracks: dict[int, Track] | None = None

    def add(self, segmentation: Segmentation, time: float | None = None) -> None:
        """Add the next frame.

        Args:
            segmentation: the frame's segments. Each has a `track_id`; in a semantic segmentation, where there is none,
                a class is a track, with the id of the class plus 1.
            time: the frame's time in the video, in seconds.

        Raises:
            InputError: if it is of another task or size than the frames before, a segment has no track, or two segments
                have the same one.
        """
        check_value("segmentation", segmentation, Segmentation)
        check_value("time", time, float | None)
        if segmentation.task != self.task:
            raise InputError(f"expected a frame of {self.task} segmentation, got one of {segmentation.task}")
        height, width = segmentation.map.shape
        if self._size not in (None, (height, width)):
            raise InputError(f"a frame is {width}x{height} pixels, those before it are {self.width}x{self.height}")
        segments = tuple(self._tracked(segment) for segment in segmentation.segments)
        runs = {
            segment.track_id or 0: _encode(segmentation.mask(found))
            for segment, found in zip(segments, segmentation.segments, strict=True)
        }
        if len(runs) < len(segments):
            raise InputError(f"two segments of frame {len(self._frames)} have the same track_id; expected one of each")
        self._size = (height, width)
        self._frames.append(Frame(len(self._frames), time, segments))
        self._runs.append(runs)
        self._tracks = None

    def _tracked(self, segment: Segment) -> Segment:
        if segment.track_id is None and self.task == "semantic":
            return replace(segment, track_id=segment.label_id + 1)
        if type(segment.track_id) is not int or segment.track_id < 1:
            raise InputError(
                f"the track_id of a segment is {shown(segment.track_id)}; expected a whole number from 1, as the "
                "frames have that VideoSegmenter's `stream` yields"
            )
        return segment

    @property
    def frames(self) -> Sequence[Frame]:
        """The frames, in order."""
        return tuple(self._frames)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks, in the order of their ids."""
        return tuple(self._by_id().values())

    @property
    def height(self) -> int:
        """The height of a frame in pixels; 0 without frames."""
        return self._size[0] if self._size else 0

    @property
    def width(self) -> int:
        """The width of a frame in pixels; 0 without frames."""
        return self._size[1] if self._size else 0

    def masks(self, track: Track | int) -> "TrackMasks":
        """Return the masks of a track, one for each frame, empty where it was not found.

        Args:
            track: the track, or its id.

        Returns:
            A sequence of T masks, (H, W) bool, each of which is decompressed when it is indexed. `np.asarray` makes
            them one array, (T, H, W) bool: 2 MB for each frame of 1920x1080.

        Raises:
            InputError: if there is no such track.
        """
        check_value("track", track, Track | int)
        track_id = track.id if isinstance(track, Track) else track
        if track_id not in self._by_id():
            raise InputError(f"there is no track {shown(track_id)}; `tracks` has all {len(self._by_id())}")
        return TrackMasks([runs.get(track_id) for runs in self._runs], (self.height, self.width))

    def rle(self, frame: int, track_id: int) -> dict[str, Any] | None:
        """Return the mask of a track in a frame as COCO's run lengths, ready for JSON.

        Args:
            frame: index of the frame.
            track_id: id of the track.

        Returns:
            `size`, [height, width], and `counts`, compressed; None if the track was not found in the frame.
        """
        counts = self._runs[frame].get(track_id)
        return None if counts is None else {"size": [self.height, self.width], "counts": counts.decode("ascii")}

    def frame_map(self, frame: int) -> np.ndarray:
        """Return the id of each pixel's track.

        Args:
            frame: index of the frame.

        Returns:
            (H, W) int32; 0 stands for no track. Where instances overlap, the one with the highest score is on top.
        """
        ids = np.zeros((self.height, self.width), np.int32)
        for segment in reversed(self._frames[frame].segments):
            ids[self._mask(frame, segment)] = segment.track_id or 0
        return ids

    def segmentation(self, frame: int, image: np.ndarray) -> Segmentation:
        """Return a frame's `Segmentation`, which draws and exports that frame.

        Args:
            frame: index of the frame.
            image: (H, W, 3) uint8, RGB: the frame's pixels, which are not kept.

        Returns:
            What was added for that frame.

        Raises:
            InputError: if the image has another size.
        """
        if image.shape != (self.height, self.width, 3):
            raise InputError(f"expected an image of shape {(self.height, self.width, 3)}, got {image.shape}")
        segments = self._frames[frame].segments
        ids = np.full((self.height, self.width), VOID_IDS[self.task], np.int32)
        packed: dict[int, bytes] = {}
        for segment in reversed(segments):
            mask = self._mask(frame, segment)
            ids[mask] = segment.id
            packed[segment.id] = pack(mask) if self.task == "instance" else b""
        masks = {segment.id: packed[segment.id] for segment in segments} if self.task == "instance" else None
        return Segmentation(self.task, image, ids, segments, self.labels, self.name, masks)

    def summary(self) -> str:
        """Return one line with the classes, and how many tracks each has."""
        if not self._by_id():
            return "nothing found"
        counts = Counter(track.label for track in self.tracks)
        items = [f"{count} {label}" if count > 1 else label for label, count in counts.most_common()]
        more = len(items) - MAX_SUMMARY_ITEMS
        return printable(", ".join(items[:MAX_SUMMARY_ITEMS])) + (f", and {more} more" if more > 0 else "")

    def __repr__(self) -> str:
        of = f" of {printable(self.name)}" if self.name else ""
        count = "1 frame" if len(self._frames) == 1 else f"{len(self._frames)} frames"
        return f"<{self.task} segmentation{of}, {count} of {self.width}x{self.height}: {self.summary()}>"

    def _mask(self, frame: int, segment: Segment) -> np.ndarray:
        return _decode(self._runs[frame][segment.track_id or 0], (self.height, self.width))

    def _by_id(self) -> dict[int, Track]:
        if self._tracks is None:
            found: defaultdict[int, list[tuple[int, Segment]]] = defaultdict(list)
            for frame in self._frames:
                for segment in frame.segments:
                    found[segment.track_id or 0].append((frame.index, segment))
            self._tracks = {track_id: _track(track_id, found[track_id]) for track_id in sorted(found)}
        return self._tracks


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
        return np.zeros(self.shape[1:], bool) if runs is None else _decode(runs, self.shape[1:])

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


def _track(track_id: int, segments: Sequence[tuple[int, Segment]]) -> Track:
    weights: defaultdict[tuple[int, str], float] = defaultdict(float)
    for _, segment in segments:
        weights[segment.label_id, segment.label] += 1.0 if segment.score is None else segment.score
    label_id, label = max(weights, key=lambda key: weights[key])
    scores = {frame: segment.score for frame, segment in segments}
    known = [score for score in scores.values() if score is not None]
    mean = sum(known) / len(known) if known else None
    return Track(track_id, label_id, label, mean, scores, segments[0][0], segments[-1][0])


def _encode(mask: np.ndarray) -> bytes:
    counts: bytes = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))["counts"]
    return counts


def _decode(counts: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return a mask, (H, W) bool."""
    mask: np.ndarray = coco_mask.decode({"size": list(size), "counts": counts})
    return mask.view(bool)

"""The result of a video's segmentation: tracks and frames, whose masks are kept as run lengths."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.results import video_export
from lucid_mlx.results.packed_mask import pack
from lucid_mlx.results.segment import Segment
from lucid_mlx.results.segmentation import Segmentation
from lucid_mlx.results.segmented_image import VOID_IDS
from lucid_mlx.results.tracks import Frame, Track, TrackMasks, decode_mask, encode_mask, track_of
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.utils.validation import check_choice, check_value
from lucid_mlx.visualization.colors import check_labels

MAX_SUMMARY_ITEMS = 8


class VideoSegmentation:
    """The segments of a video's frames, and the tracks that they belong to.

    It is built frame by frame, and keeps masks as run lengths (COCO's RLE), some hundred bytes each. It keeps no frame.

    Args:
        task: "semantic", "instance" or "panoptic".
        labels: names of all classes of the network, by class id.
        name: the video's file name, if any.
        source: the path of the video, which `save` reads again, if any.

    Attributes:
        task: as above.
        labels: as above.
        name: as above.
        source: as above.
    """

    def __init__(self, task: str, labels: Mapping[int, str], name: str | None = None, source: Path | None = None):
        check_choice("task", task, TASKS)
        check_labels(labels)
        check_value("name", name, str | None)
        self.task, self.labels, self.name, self.source = task, labels, name, source
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
            segment.track_id or 0: encode_mask(segmentation.mask(found))
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

    def masks(self, track: Track | int) -> TrackMasks:
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

    def save(
        self,
        path: str | PathLike[str],
        source: str | PathLike[str] | None = None,
        *,
        frames: Iterable[Any] | None = None,
        frame_rate: float = 25.0,
        **options: Any,
    ) -> Path:
        """Draw the segments over the video and write a video. Needs PyAV, which the extra `video` installs.

        Args:
            path: the file to write: .mp4, .mov or .mkv. An existing file is replaced.
            source: the video that was segmented, which is read again; None for `self.source`.
            frames: instead of a video its frames, each whatever `read_image` takes.
            frame_rate: of `frames`, how many there are a second.
            **options: of `Segmentation.draw`.

        Returns:
            The path, with "~" expanded.

        Raises:
            InputError: if there is neither a source nor frames, they are not those that were segmented, PyAV is
                missing, or the file cannot be written; an existing file is then unchanged.
        """
        from lucid_mlx.video.draw_video import draw_frames, draw_video  # a layer above, for this method alone

        source = self.source if source is None else source
        if frames is not None:
            draw_frames(self, frames, path, frame_rate, options)
        elif source is None:
            raise InputError(
                "the result keeps no frames to draw on; pass the path of the video, source=, or its frames, frames="
            )
        else:
            draw_video(self, source, path, options)
        return local_path(path)

    def to_json(self) -> dict[str, Any]:
        """Return the tracks, and of each frame the time and the segments with boxes, scores and run lengths."""
        return video_export.to_json(self)

    def to_youtube_vis(self, video_id: int = 1, category_ids: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
        """Return results for YouTube-VIS's evaluation, which takes a list of those of all videos.

        Args:
            video_id: id of the video in the dataset.
            category_ids: the `category_id` of each class, as `Segmenter.category_ids` has it; None for the class id.

        Returns:
            A result for each track, ready for JSON; where there is no score it is 1.

        Raises:
            InputError: if a class has no category.
        """
        check_value("video_id", video_id, int)
        check_value("category_ids", category_ids, Mapping | None)
        return video_export.youtube_vis_results(self, video_id, category_ids)

    def to_mot(self) -> list[str]:
        """Return the lines of a MOTChallenge file: a box, its track and its score in a frame."""
        return video_export.mot_lines(self)

    def to_mask(self, frame: int) -> Image.Image:
        """Return the track ids of a frame as an image with a palette, as DAVIS has them.

        Args:
            frame: index of the frame.

        Returns:
            An image (H, W) of 8 bits in which 0 stands for no track; of 16 bits, in gray, if ids need them.
        """
        return video_export.mask_image(self, frame)

    def export(
        self,
        path: str | PathLike[str],
        format: str,
        *,
        video_id: int = 1,
        category_ids: Mapping[int, int] | None = None,
    ) -> Path:
        """Write a file for another tool, completely or not at all. An existing one is replaced.

        Args:
            path: the file; for masks a folder, which is made, and in which each frame has a file: `00000.png`.
            format: "json" (as `to_json`), "youtubevis", "masks" (as `to_mask`) or "mot".
            video_id: for youtubevis, id of the video in the dataset.
            category_ids: for youtubevis, the `category_id` of each class; None for the class id.

        Returns:
            The path, with "~" expanded.

        Raises:
            InputError: if the path cannot be written, or a class has no category.
        """
        check_choice("format", format, video_export.FORMATS)
        check_value("video_id", video_id, int)
        check_value("category_ids", category_ids, Mapping | None)
        return video_export.write_export(self, local_path(path), format, video_id, category_ids)

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
        return decode_mask(self._runs[frame][segment.track_id or 0], (self.height, self.width))

    def _by_id(self) -> dict[int, Track]:
        if self._tracks is None:
            found: defaultdict[int, list[tuple[int, Segment]]] = defaultdict(list)
            for frame in self._frames:
                for segment in frame.segments:
                    found[segment.track_id or 0].append((frame.index, segment))
            self._tracks = {track_id: track_of(track_id, found[track_id]) for track_id in sorted(found)}
        return self._tracks

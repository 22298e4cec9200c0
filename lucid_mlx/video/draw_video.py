"""Draw what was found in a video over its frames."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count, islice
from os import PathLike
from typing import Any

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.preprocessing.preprocess import prefetch
from lucid_mlx.results import Segmentation, VideoSegmentation
from lucid_mlx.utils.files import atomic_write, check_not_input, local_path
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.validation import check_value
from lucid_mlx.video.reader import VideoReader
from lucid_mlx.video.writer import VideoWriter, check_suffix
from lucid_mlx.visualization import palette

TOLERANCE = 1e-3  # seconds, of a frame's time
MAX_RATE = 1000


class Drawing:
    """Draws frames: a class has the same color in all of them, and a track keeps its shade of it.

    Args:
        labels: names of all classes of the network, by class id.
        options: of `Segmentation.draw`.
    """

    def __init__(self, labels: Mapping[int, str], options: Mapping[str, Any]):
        self._options = {"legend": False, **options, "colors": palette(labels)}
        self._shades: dict[int, int] = {}  # by track
        self._next_shade: defaultdict[int, count[int]] = defaultdict(count)  # by class

    def __call__(self, frame: Segmentation) -> np.ndarray:
        """Return the picture of a frame, (H, W, 3) uint8, RGB."""
        if frame.task == "semantic":
            return np.asarray(frame.draw(**self._options))
        for segment in frame.segments:
            if segment.track_id is not None and segment.track_id not in self._shades:
                self._shades[segment.track_id] = next(self._next_shade[segment.label_id])
        shades = [self._shades[segment.track_id or 0] for segment in frame.segments]
        return np.asarray(frame.draw(shade_indices=shades, **self._options))


def draw_video(
    result: VideoSegmentation,
    source: str | PathLike[str],
    target: str | PathLike[str],
    options: Mapping[str, Any],
) -> None:
    """Read a video again, and write those of its frames that were segmented, with their segments and the audio.

    Args:
        result: what was found in it.
        source: the video.
        target: the video to write: .mp4, .mov or .mkv. An existing file is replaced.
        options: of `Segmentation.draw`.

    Raises:
        InputError: if PyAV is missing, the source does not have the frames, or the target cannot be written. No file is
            left then.
    """
    source, target = local_path(source, "source"), local_path(target)
    check_suffix(target)
    check_not_input([target], [source])
    times = [-1.0 if frame.time is None else frame.time for frame in result.frames]
    if not times or min(times) < 0:
        raise InputError("the result does not know the times of its frames; pass the frames themselves: frames=")
    gap = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    start, end = max(0.0, times[0] - TOLERANCE), times[-1] + max(gap, 2 * TOLERANCE)

    def segmented() -> Iterator[Segmentation]:
        number = 0
        for frame in reader.frames():
            time = start + float(reader.timestamps[-1][0] * reader.time_base)
            if number < len(times) and abs(time - times[number]) <= TOLERANCE:
                yield result.segmentation(number, frame)
                number += 1
            else:
                reader.timestamps.pop()  # it is not written
        if number < len(times):
            raise InputError(
                f"{source} has no frame at {times[number]:.3f} s; expected the video that was segmented, whose frames "
                f"have {result.width}x{result.height} pixels"
            )

    with (
        VideoReader(source, start=start, end=end) as reader,
        atomic_write(target) as path,
        VideoWriter(path, reader) as writer,
        closing(prefetch(map(Drawing(result.labels, options), segmented()))) as pictures,
    ):
        for picture in pictures:
            writer.write(picture)
        writer.flush()


@dataclass
class _Clock:
    """What a writer asks of the video that frames come from, of frames that come from none."""

    frame_rate: Fraction
    time_base: Fraction
    timestamps: deque[tuple[int, int]]
    audio_packets: deque[Any] = field(default_factory=deque)
    audio_streams: tuple[Any, ...] = ()
    rotation: int = 0
    sample_aspect_ratio: Fraction | None = None
    end: Fraction | None = None


def draw_frames(
    result: VideoSegmentation,
    frames: Iterable[Any],
    target: str | PathLike[str],
    frame_rate: float,
    options: Mapping[str, Any],
) -> None:
    """Write frames as a video, with their segments.

    Args:
        result: what was found in them.
        frames: each whatever `read_image` takes.
        target: the video to write: .mp4, .mov or .mkv. An existing file is replaced.
        frame_rate: frames a second.
        options: of `Segmentation.draw`.

    Raises:
        InputError: if PyAV is missing, there are not as many frames as were segmented, or the target cannot be written.
            No file is left then.
    """
    require("av", "video")
    check_value("frame_rate", frame_rate, float, 1 / MAX_RATE, MAX_RATE)
    target = local_path(target)
    check_suffix(target)
    total = len(result.frames)
    rate = Fraction(frame_rate).limit_denominator(1001)
    clock = _Clock(rate, 1 / rate, deque((number, 1) for number in range(total)))
    draw, number = Drawing(result.labels, options), 0
    with atomic_write(target) as path, VideoWriter(path, clock) as writer:
        for number, frame in enumerate(islice(frames, total), 1):
            writer.write(draw(result.segmentation(number - 1, read_image(frame))))
        if number < total or not total:
            raise InputError(f"there are {number} frames, but the result has {total}; pass those that were segmented")
        writer.flush()

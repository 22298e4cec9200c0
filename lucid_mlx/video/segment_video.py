"""Segment a video and draw what was found. Needs PyAV, which the extra `video` installs."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing.preprocess import prefetch
from lucid_mlx.results import Segmentation, VideoSegmentation
from lucid_mlx.utils.files import atomic_write, check_not_input, local_path
from lucid_mlx.utils.validation import check_value
from lucid_mlx.video.draw_video import Drawing
from lucid_mlx.video.progress import told
from lucid_mlx.video.reader import VideoReader
from lucid_mlx.video.video_segmenter import VideoSegmenter
from lucid_mlx.video.writer import VideoWriter, check_suffix

T = TypeVar("T")


def segment_video(
    segmenter: VideoSegmenter,
    source: str | PathLike[str],
    target: str | PathLike[str] | None,
    *,
    start: float = 0.0,
    end: float | None = None,
    every: int = 1,
    max_frames: int | None = None,
    batch_size: int = 1,
    thresholds: Thresholds | None = None,
    labels: Collection[str] = (),
    opacity: float = 0.5,
    title: str | None = None,
    result: VideoSegmentation | None = None,
    on_frame: Callable[[int, int | None], None] | None = None,
    progress: bool = False,
) -> int:
    """Segment each frame of a video and draw the segments over it.

    The frames keep their timestamps, and the audio is copied without re-encoding. A class has the same colors in all
    frames, and a segment keeps its shade while it is tracked. A video whose longer side is under 480 pixels is
    enlarged. Frames are read, segmented, drawn and encoded at the same time, by a thread each.

    Args:
        segmenter: the network.
        source: a video in any format that FFmpeg reads.
        target: the video to write, H.264 in the container that the suffix names: .mp4, .mov or .mkv. An existing file
            is replaced. None to draw nothing.
        start: where to begin, in seconds.
        end: where to stop, in seconds; the end of the video if None.
        every: take each frame (1), every second one (2), and so on.
        max_frames: how many frames to take at most.
        batch_size: number of frames that run together. A few more are in memory, whatever the video's length.
        thresholds: which segments to keep; the defaults if None.
        labels: names of the classes to draw; all classes if empty.
        opacity: of the colors, 0 to 1.
        title: a line of text above each frame.
        result: to which the frames are added, without those classes that are not drawn; None to keep nothing.
        on_frame: called after each frame with how many are done, and how many there are, as far as is known.
        progress: tell how far it is: by a bar if standard error is a terminal or this a notebook, else by lines.

    Returns:
        The number of frames.

    Raises:
        InputError: if PyAV is missing, the source is not a video or incomplete, or the target cannot be written. No
            file is left then.
    """
    check_value("segmenter", segmenter, VideoSegmenter)
    source = local_path(source, "source")
    if target is not None:
        target = local_path(target, "target")
        check_suffix(target)
        check_not_input([target], [source])
    draw = Drawing(segmenter.segmenter.labels, {"opacity": opacity, "title": title})
    number, times = 0, deque[float]()  # the times of frames whose segments are not yet found
    with (
        VideoReader(source, start=start, end=end, every=every, max_frames=max_frames) as reader,
        _writer(target, reader) as writer,
        ExitStack() as threads,
    ):

        def beside(items: Iterable[T]) -> Iterator[T]:
            return threads.enter_context(closing(prefetch(items)))

        def timed(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            for frame in frames:
                times.append(start + float(reader.timestamps[-1][0] * reader.time_base))
                yield frame

        def kept(frames: Iterable[Segmentation]) -> Iterator[Segmentation]:
            for frame in frames:
                frame = frame.only(labels) if labels else frame
                time = times.popleft()
                if result is not None:
                    result.add(frame, time)
                yield frame

        frames = chain.from_iterable(beside(_batched(timed(reader.frames()), batch_size)))
        found = beside(segmenter.stream(frames, batch_size=batch_size, thresholds=thresholds, ahead=True))
        done: Iterable[Any] = kept(found) if writer is None else beside(map(draw, kept(found)))
        for picture in told(done, reader.frame_count, source.name) if progress else done:
            if writer is None:
                reader.timestamps.popleft()
                reader.audio_packets.clear()
            else:
                writer.write(picture)
            number += 1
            if on_frame is not None:
                on_frame(number, reader.frame_count)
        if number == 0:
            raise InputError(f"{source} has no frames that can be decoded; expected a video")
        if writer is not None:
            writer.flush()
    return number


@contextmanager
def _writer(target: Path | None, reader: VideoReader) -> Iterator[VideoWriter | None]:
    if target is None:
        yield None
        return
    with atomic_write(target) as path, VideoWriter(path, reader) as writer:
        yield writer


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, size)), [])

"""Segment a video frame by frame. Needs PyAV, which the extra `video` installs."""

from collections.abc import Collection
from os import PathLike
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import atomic_write, check_not_input, local_path
from lucid_mlx.utils.text import hide_bar
from lucid_mlx.utils.validation import check_value
from lucid_mlx.video.io import VideoReader, VideoWriter, check_suffix
from lucid_mlx.video.tracking import Tracker
from lucid_mlx.visualization import palette


def segment_video(
    segmenter: Segmenter,
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    batch_size: int = 1,
    thresholds: Thresholds | None = None,
    labels: Collection[str] = (),
    opacity: float = 0.5,
    title: str | None = None,
    progress: bool = False,
) -> int:
    """Segment each frame of a video and draw the segments over it.

    The frames keep their timestamps, and the audio is copied without re-encoding. A class has the same color in all
    frames, and a segment keeps its shade while it is tracked. A video whose longer side is under 480 pixels is
    enlarged.

    Args:
        segmenter: the network.
        source: a video in any format that FFmpeg reads.
        target: the video to write, H.264 in the container that the suffix names: .mp4, .mov or .mkv. An existing file
            is replaced.
        batch_size: number of frames that run together. No more frames are in memory.
        thresholds: which segments to keep; the defaults if None.
        labels: names of the classes to draw; all classes if empty.
        opacity: of the colors, 0 to 1.
        title: a line of text above each frame.
        progress: show a progress bar, if standard error is a terminal or this a notebook.

    Returns:
        The number of frames.

    Raises:
        InputError: if PyAV is missing, the source is not a video or incomplete, or the target cannot be written. No
            file is left then.
    """
    check_value("segmenter", segmenter, Segmenter)
    source, target = local_path(source, "source"), local_path(target, "target")
    check_suffix(target)
    check_not_input([target], [source])
    tracker, count = Tracker(), 0
    options: dict[str, Any] = {"opacity": opacity, "title": title, "colors": palette(segmenter.labels), "legend": False}
    with VideoReader(source) as reader, atomic_write(target) as path, VideoWriter(path, reader) as writer:
        results = segmenter.stream(reader.frames(), batch_size=batch_size, thresholds=thresholds)
        for result in tqdm(results, total=reader.frame_count, unit="frame", disable=hide_bar(progress)):
            writer.write(_draw(result.only(labels) if labels else result, tracker, options))
            count += 1
        if count == 0:
            raise InputError(f"{source} has no frames that can be decoded; expected a video")
        writer.flush()
    return count


def _draw(result: Segmentation, tracker: Tracker, options: dict[str, Any]) -> np.ndarray:
    if result.task == "semantic":
        return np.asarray(result.draw(**options))
    return np.asarray(result.draw(shade_indices=tracker.update(result), **options))

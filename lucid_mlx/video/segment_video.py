"""Videos, segmented frame by frame. Needs PyAV, which the extra `video` brings."""

from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.atomic_write import draft
from lucid_mlx.video.io import VideoReader, VideoWriter, check_ending
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
    note: str | None = None,
    progress: bool = False,
) -> int:
    """Draw the segments of each frame over a video.

    The frames keep their times, and the sound is copied as it is. A class has the same color all along, and a segment
    its shade of that from frame to frame. A video whose longer side is under 480 pixels is enlarged.

    Args:
        segmenter: finds the segments.
        source: a video that FFmpeg reads.
        target: where to write H.264, in the container that the ending says: .mp4, .mov or .mkv. A file that is there
            is replaced.
        batch_size: frames that run together; no more are in memory.
        thresholds: what counts as found.
        labels: the classes to draw; all if there are none.
        opacity: of the tint, 0 to 1.
        note: a line to print above, if any.
        progress: show a progress bar, if standard error is a terminal.

    Returns:
        How many frames there are.

    Raises:
        InputError: if PyAV is missing, the source is no video or incomplete, or the target cannot be written; nothing
            is written then.
    """
    source, target = Path(source), Path(target)
    check_ending(target)
    tracker, count = Tracker(), 0
    options: dict[str, Any] = {"opacity": opacity, "note": note, "colors": palette(segmenter.labels), "legend": False}
    with VideoReader(source) as video, draft(target) as path, VideoWriter(path, video) as film:
        results = segmenter.stream(video.frames(), batch_size=batch_size, thresholds=thresholds)
        for result in tqdm(results, total=video.expected, unit="frame", disable=None if progress else True):
            film.write(_draw(result.only(labels) if labels else result, tracker, options))
            count += 1
        if count == 0:
            raise InputError(f"{source} has no frames that can be decoded; expected a video")
        film.end()
    return count


def _draw(result: Segmentation, tracker: Tracker, options: dict[str, Any]) -> np.ndarray:
    if result.task == "semantic":
        return np.asarray(result.draw(**options))
    return np.asarray(result.draw(shades=tracker.numbers(result), **options))

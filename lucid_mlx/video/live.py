"""A camera, and what it sees segmented while it is seen."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing.preprocess import prefetch
from lucid_mlx.results import Segmentation
from lucid_mlx.utils.files import atomic_write
from lucid_mlx.video.reader import VideoReader, ffmpeg_errors
from lucid_mlx.video.video_segmenter import VideoSegmenter
from lucid_mlx.video.writer import VideoWriter

if TYPE_CHECKING:
    import av

# FFmpeg's devices, and what they call a camera.
CAMERAS = {"darwin": ("avfoundation", "{}:none"), "linux": ("v4l2", "/dev/video{}")}
CAMERA_OPTIONS = {"framerate": "30"}  # macOS refuses FFmpeg's own default, 29.97
MILLISECONDS = Fraction(1, 1000)


class _CameraReader(VideoReader):
    """Reads a camera by its number."""

    def _open_container(self, options: dict[str, str]) -> "av.container.InputContainer":
        import av

        device, name = CAMERAS.get(sys.platform, ("", ""))
        if device not in av.formats_available:
            raise InputError(f"PyAV reads no camera here: it lacks {device or 'a device for ' + sys.platform}")
        failure = f"camera {self._path} cannot be opened; is it there, and may the terminal use it?"
        with ffmpeg_errors(failure):
            return av.open(name.format(self._path), format=device, options={**CAMERA_OPTIONS, **options})


class Camera:
    """The frames of a camera: always the newest, while others are dropped. A `VideoWriter` can write them.

    Args:
        source: number of a camera, from 0; or the path of a file that plays in its place, at its own pace.

    Attributes:
        dropped: number of frames that were not taken, since others were newer.

    Raises:
        InputError: if PyAV is missing, or there is no such camera.
    """

    def __init__(self, source: str):
        self._is_file = not source.isdecimal()
        self._reader = VideoReader(Path(source)) if self._is_file else _CameraReader(Path(source))
        self.frame_rate, self.time_base = self._reader.frame_rate, MILLISECONDS
        self.timestamps: deque[tuple[int, int]] = deque()
        self.audio_streams: tuple[Any, ...] = ()
        self.audio_packets: deque[Any] = deque()
        self.rotation, self.sample_aspect_ratio = 0, self._reader.sample_aspect_ratio
        self.end: Fraction | None = None
        self.dropped = 0
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._newest: tuple[int, np.ndarray] | None = None  # its time in ms
        self._error: BaseException | None = None
        self._ended = False

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(*error)

    def frames(self) -> Generator[np.ndarray, None, None]:
        """Yield the newest frame, (H, W, 3) uint8, RGB, each time that one is asked for; wait for it if needed."""
        thread = threading.Thread(target=self._watch, name="lucid-mlx-camera", daemon=True)
        thread.start()
        duration = max(1, round(1000 / self.frame_rate))
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._newest is not None or self._ended)
                    newest, self._newest = self._newest, None
                if newest is None:
                    break
                self.rotation = self._reader.rotation
                self.timestamps.append((newest[0], duration))
                yield newest[1]
        finally:
            self._stopped.set()
            thread.join()
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        try:
            start = last = None
            for image in self._reader.frames():
                timestamp, _ = self._reader.timestamps.popleft()
                self._reader.audio_packets.clear()
                start = time.monotonic() if start is None else start
                now = time.monotonic() - start
                if self._is_file:
                    due = float(timestamp * self._reader.time_base)
                    self._stopped.wait(max(0.0, due - now))
                    now = due
                if self._stopped.is_set():
                    return
                last = max(round(1000 * now), -1 if last is None else last + 1)
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = last, image
                    self._changed.notify()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()


def segment_live(
    segmenter: VideoSegmenter,
    camera: Camera,
    draw: Callable[[Segmentation], np.ndarray],
    show: Callable[[np.ndarray], None],
    *,
    target: Path | None = None,
    max_frames: int | None = None,
    thresholds: Thresholds | None = None,
) -> int:
    """Segment what a camera sees and show it, until Ctrl-C is pressed or the camera ends.

    Args:
        segmenter: the network.
        camera: the camera.
        draw: makes a picture of a frame, (H, W, 3) uint8, RGB.
        show: called with each picture.
        target: a video to write as well, which is complete also after Ctrl-C; None for none.
        max_frames: how many frames to take at most.
        thresholds: which segments to keep; the defaults if None.

    Returns:
        The number of frames that were shown.

    Raises:
        InputError: if the camera fails, or the video cannot be written.
    """
    number = 0
    with ExitStack() as stack:
        path = None if target is None else stack.enter_context(atomic_write(target))
        writer = None if path is None else stack.enter_context(VideoWriter(path, camera))
        frames = stack.enter_context(closing(camera.frames()))
        pictures = stack.enter_context(closing(prefetch(map(draw, segmenter.stream(frames, thresholds=thresholds)))))
        try:
            for picture in pictures:
                show(picture)
                if writer is None:
                    camera.timestamps.popleft()
                else:
                    writer.write(picture)
                number += 1
                if number == max_frames:
                    break
        except KeyboardInterrupt:
            if not number:
                raise
        if not number:
            raise InputError("the camera gave no frame")
        if writer is not None:
            writer.flush()
    return number

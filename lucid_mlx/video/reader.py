"""Read a video file: upright frames with their times, and the packets of its audio."""

import warnings
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_file
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.validation import (
    BYTES_PER_PIXEL,
    MAX_COUNT,
    check_image_size,
    check_value,
    max_image_bytes,
    too_large,
)
from lucid_mlx.video.clock import MICROSECONDS, TIMES_MAY_JUMP, Clock
from lucid_mlx.video.color import ColorConverter
from lucid_mlx.video.deinterlace import Deinterlacer

if TYPE_CHECKING:
    import av

MAX_MISSING_SECONDS = 0.5  # at the end of a video, compared with the duration in the container
TOLERANCE = Fraction(1, 1000)  # seconds by which containers round times
MAX_SECONDS = 10**7  # a third of a year


class VideoReader:
    """Reads a video, or a part of it, once from start to end.

    What is damaged is left out. How much that was is told by a warning at the end, as is a frame of another size than
    the first, and if there are fewer frames than asked for.

    Args:
        path: a file in any format that FFmpeg reads.
        start: where to begin, in seconds from the beginning of the video.
        end: where to stop, in seconds from the beginning; the end of the video if None.
        every: take each frame (1), every second one (2), and so on.
        max_frames: how many frames to take at most; all if None.

    Attributes:
        stream: the video stream.
        audio_streams: the audio streams.
        frame_rate: average number of frames a second of those that are taken.
        time_base: unit of the timestamps, in seconds.
        timestamps: timestamp and duration, in units of `time_base`, of each frame that was read but not yet written.
            `start` is the time zero.
        audio_packets: audio packets that were read but not yet written.
        rotation: counterclockwise rotation in degrees that makes a frame upright, a multiple of 90.
        sample_aspect_ratio: width by height of a pixel before the rotation; None if unknown.
        end: where the part that is read ends, in seconds from `start`; None for the end of the video.

    Raises:
        InputError: if PyAV is missing, the file is not a video, or a value is out of range.
    """

    def __init__(
        self,
        path: Path,
        *,
        start: float = 0.0,
        end: float | None = None,
        every: int = 1,
        max_frames: int | None = None,
    ):
        require("av", "video")
        check_value("start", start, float, 0, MAX_SECONDS)
        check_value("end", end, float | None, 0, MAX_SECONDS)
        check_value("every", every, int, 1, MAX_COUNT)
        check_value("max_frames", max_frames, int | None, 1, MAX_COUNT)
        if end is not None and end <= start:
            raise InputError(f"end must be after start, got {end:g} s and {start:g} s")
        self._path = path
        self._start = Fraction(start).limit_denominator(MICROSECONDS)
        self._every, self._max_frames = every, max_frames
        self.end = None if end is None else Fraction(end).limit_denominator(MICROSECONDS) - self._start
        self.timestamps: deque[tuple[int, int]] = deque()
        self.audio_packets: deque[av.Packet[Any]] = deque()
        self.rotation = 0
        self._open()

    def _open_container(self, options: dict[str, str]) -> "av.container.InputContainer":
        import av

        check_file(self._path, "a video")
        with ffmpeg_errors(f"{self._path} is not a video, or damaged"):
            # A playlist can name URLs; it must not open network connections.
            return av.open(f"file:{self._path}", options={"protocol_whitelist": "file", **options})

    def _open(self) -> None:
        import av

        limit = {"max_pixels": str(max_image_bytes() // BYTES_PER_PIXEL)}  # FFmpeg allocates no larger frame
        self._container = self._open_container(limit)
        format_name = self._container.format.name
        video_streams = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic  # the cover of an album
        ]
        # FFmpeg also reads text files (tty) and photos (image2, png_pipe and others) as videos.
        if not video_streams or format_name in ("tty", "image2") or format_name.endswith("_pipe"):
            self._container.close()
            raise InputError(f"{self._path} has no video stream; expected a video")
        self.stream = video_streams[0]
        self._check_size()
        self.stream.codec_context.options = limit
        self.stream.thread_type = "AUTO"
        self.sample_aspect_ratio = self.stream.sample_aspect_ratio or None
        self.audio_streams = self._container.streams.audio
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self._source_rate = rate
        self.frame_rate = rate / self._every
        self.time_base = self.stream.time_base or 1 / rate
        self._clock = Clock(self._container, self._start)
        self._damaged = self._resized = 0
        self._failure = ""

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def _check_size(self) -> None:
        """Check from the header that a frame fits into memory; FFmpeg found no size if it refused the first frame."""
        width, height = self.stream.width, self.stream.height
        try:
            if not (width and height):
                raise InputError(
                    too_large(f"{self._path} does not say how large its frames are, or they are too large")
                )
            check_image_size(width, height, f"a frame of {self._path}")
        except InputError:
            self._container.close()
            raise

    @property
    def frame_count(self) -> int | None:
        """The number of frames to expect, according to the container or its duration; None if unknown."""
        count: float | None = None
        if self._container.duration:
            seconds = Fraction(self._container.duration, MICROSECONDS) - self._start
            seconds = seconds if self.end is None else min(seconds, self.end)
            count = max(0.0, float(seconds * self._source_rate))
        elif self.end is not None:
            count = float(self.end * self._source_rate)
        if self.stream.frames and not self._start and self.end is None:
            count = self.stream.frames
        if count is None:
            return self._max_frames
        count = -(-round(count) // self._every)
        return count if self._max_frames is None else min(count, self._max_frames)

    def frames(self) -> Iterator[np.ndarray]:
        """Decode the video.

        Yields:
            Upright frames, (H, W, 3) uint8, RGB of BT.709, all of the size of the first.

        Raises:
            InputError: if no frame can be decoded, the file is incomplete, or the video ends before `start`.
        """
        converter = ColorConverter()
        size: tuple[int, int] | None = None
        number = taken = 0
        time = -self._start
        with ffmpeg_errors(f"{self._path} is damaged or incomplete"):
            for timestamp, duration, frame in self._from_start():
                time = timestamp * self.time_base
                if time < -TOLERANCE:
                    continue
                if self._max_frames is not None and number == self._max_frames * self._every:
                    self.end = time  # the sound ends there too
                if self.end is not None and time >= self.end - TOLERANCE:
                    self._read_audio()
                    break
                number += 1
                if (number - 1) % self._every:
                    continue
                size = size or (frame.width, frame.height)
                self._resized += (frame.width, frame.height) != size
                self.rotation = 90 * round(frame.rotation / 90)
                self.timestamps.append((timestamp, duration * self._every))
                taken += 1
                yield np.rot90(converter.to_rgb(frame, *size), self.rotation // 90)
        if self._start and not taken:
            raise InputError(f"{self._path} ends after {float(time + self._start):.1f} s, before the start")
        if not taken and self._failure:
            raise InputError(f"{self._path} is damaged: none of its frames can be decoded: {self._failure}")
        self._tell(taken, size)

    def _tell(self, taken: int, size: tuple[int, int] | None) -> None:
        """Warn of what is not as expected."""
        if self._damaged:
            packets = "1 damaged packet" if self._damaged == 1 else f"{self._damaged} damaged packets"
            warnings.warn(f"{self._path} has {packets}: frames or sound are missing there, or wrong", stacklevel=3)
        if self._resized and size is not None:
            frames = "1 frame" if self._resized == 1 else f"{self._resized} frames"
            warnings.warn(
                f"{self._path} changes its size: {frames} fitted into the {size[0]}x{size[1]} of the first",
                stacklevel=3,
            )
        if self._max_frames is not None and taken < self._max_frames:
            frames = "1 frame" if taken == 1 else f"{taken} frames"
            warnings.warn(f"{self._path} has {frames} there, not the {self._max_frames} asked for", stacklevel=3)

    def _from_start(self) -> "Iterator[tuple[int, int, av.VideoFrame]]":
        """Decode from the start, or from before it; as `_decode`."""
        import av

        # Where times jump, a place cannot be found by its time.
        if self._start and not self._container.format.flags & TIMES_MAY_JUMP:
            for earlier in (0, 10):  # seconds; the frames after a key frame may need those before it
                try:
                    target = int((self._clock.shift - earlier) / self.time_base)
                    self._container.seek(max(0, target), stream=self.stream)
                    decoded = self._decode()
                    first = next(decoded, None)
                except av.FFmpegError:
                    break  # a format without an index
                if first is not None and first[0] * self.time_base <= TOLERANCE:
                    return chain([first], decoded)
                decoded.close()
                self.audio_packets.clear()
            self._container.close()
            self._open()
        return self._decode()

    def _decode(self) -> "Generator[tuple[int, int, av.VideoFrame], None, None]":
        """Yield the timestamp, the duration and the picture of each frame, in order of time."""
        timestamp: int | None = None
        default_duration = max(1, round(1 / (self._source_rate * self.time_base)))
        for frame in self._decoded():
            frame_time = frame.dts if frame.pts is None else frame.pts
            scale = Fraction(frame.time_base or self.time_base) / self.time_base
            if frame_time is not None:
                frame_time = round(frame_time * scale)
            if timestamp is None:
                timestamp = frame_time or 0
            elif frame_time is not None and frame_time > timestamp:
                timestamp = frame_time
            else:  # old formats lack timestamps, and damaged files repeat them
                timestamp += default_duration
            yield timestamp, round((frame.duration or 0) * scale) or default_duration, frame

    def _decoded(self) -> "Iterator[av.VideoFrame]":
        deinterlacer = Deinterlacer()
        for packet in self._packets():
            if packet.stream.index == self.stream.index:  # `stream_index` of the packet that ends a stream is 0
                for frame in self._frames_of(packet):
                    self._damaged += frame.is_corrupt and not packet.is_corrupt
                    yield from deinterlacer.filter(frame)
            else:
                self._keep_audio(packet)
        yield from deinterlacer.flush()

    def _frames_of(self, packet: "av.Packet[Any]") -> "list[av.VideoFrame]":
        """Decode a packet; one that is damaged gives what can be seen of it, or no frame."""
        import av

        try:
            return self.stream.decode(packet)
        except av.FFmpegError as error:
            self._damaged += not packet.is_corrupt  # those were counted
            self._failure = error.strerror or str(error)
            return []

    def _keep_audio(self, packet: "av.Packet[Any]") -> None:
        """Keep a packet for the writer, if it is sound of the part that is read."""
        if packet.stream.type != "audio" or not packet.size or packet.is_corrupt:  # an empty one ends its stream
            return
        time = None if packet.pts is None else packet.pts * Fraction(packet.time_base)
        # Samples before the first that is heard belong to a video that is read from its beginning.
        early = self._start and time is not None and time < -TOLERANCE
        late = self.end is not None and time is not None and time >= self.end
        if not early and not late:
            self.audio_packets.append(packet)

    def _read_audio(self) -> None:
        """Read the sound up to the end, which may come later in the file than the frames."""
        assert self.end is not None
        waiting = {stream.index for stream in self.audio_streams}
        for packet in self._packets() if waiting else ():
            self._keep_audio(packet)
            if packet.pts is not None and packet.pts * Fraction(packet.time_base) >= self.end:
                waiting.discard(packet.stream_index)
            if not waiting:
                return

    def _packets(self) -> "Iterator[av.Packet[Any]]":
        """Demux the container with its times corrected, count damage, and check at the end that it is complete."""
        for packet in self._container.demux():
            if packet.is_corrupt and not self._container.format.flags & TIMES_MAY_JUMP:
                raise InputError(f"{self._path} is incomplete: it ends inside of a packet")
            self._damaged += packet.is_corrupt  # in a stream that is made to be cut and joined
            self._clock.correct(packet)
            yield packet
        # In other containers the duration is an estimate.
        if self._container.format.name.startswith(("mov", "matroska")) and self._container.duration:
            begin = Fraction(self._container.start_time or 0, MICROSECONDS)
            expected = begin + Fraction(self._container.duration, MICROSECONDS) - self._clock.shift
            if self._clock.end < expected - Fraction(MAX_MISSING_SECONDS):
                there, whole = (float(time + self._start) for time in (self._clock.end, expected))
                raise InputError(f"{self._path} is incomplete: it ends after {there:.1f} s of {whole:.1f} s")


@contextmanager
def ffmpeg_errors(message: str) -> Iterator[None]:
    """Raise FFmpeg's errors as InputError.

    Args:
        message: what comes before FFmpeg's own message.

    Raises:
        InputError: if the block raises an error of FFmpeg.
    """
    import av

    try:
        yield
    except (av.FFmpegError, UnicodeError) as error:
        raise InputError(f"{message}: {getattr(error, 'strerror', None) or error}") from error

"""Read and write video files: upright frames with their timestamps, and audio that is copied without re-encoding."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_file
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.validation import BYTES_PER_PIXEL, check_image_size, max_image_bytes, too_large

if TYPE_CHECKING:
    import av

SUFFIXES = (".mp4", ".mov", ".mkv")
# Quality: losses are hardly visible. No B-frames: with a variable frame rate a file whose last packets are not in the
# order of their timestamps would report a duration that is too short.
X264_OPTIONS = {"crf": "18", "bf": "0"}
HD_HEIGHT = 720  # players take a video of unspecified color space for BT.709 from this height on
UNSPECIFIED_COLORSPACE = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED
MAX_MISSING_SECONDS = 0.5  # at the end of a video, compared with the duration in the container
MICROSECONDS = 10**6  # a second in FFmpeg's AV_TIME_BASE, the unit of a container's times


def check_suffix(path: Path) -> None:
    """Check that the suffix of a path names a container that `VideoWriter` can write.

    Args:
        path: the video to write.

    Raises:
        InputError: if the suffix is not one of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} does not name a video format; expected a suffix of {', '.join(SUFFIXES)}")


class VideoReader:
    """Reads a video once, from start to end.

    Args:
        path: a file in any format that FFmpeg reads.

    Attributes:
        stream: the video stream.
        audio_streams: the audio streams.
        frame_rate: average number of frames a second.
        time_base: unit of the timestamps, in seconds.
        timestamps: timestamp and duration, in units of `time_base`, of each frame that was read but not yet written.
        audio_packets: audio packets that were read but not yet written.
        rotation: counterclockwise rotation in degrees that makes a frame upright, a multiple of 90.

    Raises:
        InputError: if PyAV is missing, or the file is not a video.
    """

    def __init__(self, path: Path):
        require("av", "video")
        import av

        self._path = path
        check_file(path, "a video")
        limit = {"max_pixels": str(max_image_bytes() // BYTES_PER_PIXEL)}  # FFmpeg allocates no larger frame
        with _ffmpeg_errors(f"{path} is not a video, or damaged"):
            # A playlist can name URLs; it must not open network connections.
            options = {"protocol_whitelist": "file", **limit}
            self._container = av.open(f"file:{path}", options=options)
        format_name = self._container.format.name
        video_streams = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic  # the cover of an album
        ]
        # FFmpeg also reads text files (tty) and photos (image2, png_pipe and others) as videos.
        if not video_streams or format_name in ("tty", "image2") or format_name.endswith("_pipe"):
            self._container.close()
            raise InputError(f"{path} has no video stream; expected a video")
        self.stream = video_streams[0]
        self._check_size()
        self.stream.codec_context.options = limit
        self.stream.thread_type = "AUTO"
        self.audio_streams = self._container.streams.audio
        self.timestamps: deque[tuple[int, int]] = deque()
        self.audio_packets: deque[av.Packet[Any]] = deque()
        self.rotation = 0
        self.frame_rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self.time_base = self.stream.time_base or 1 / self.frame_rate

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
        """The number of frames according to the container, or an estimate from the duration; None if unknown."""
        if self.stream.frames:
            return self.stream.frames
        duration = self._container.duration
        return round(duration * self.frame_rate / MICROSECONDS) if duration else None

    def frames(self) -> Iterator[np.ndarray]:
        """Decode the video.

        Yields:
            Upright frames, (H, W, 3) uint8, RGB, all of the size of the first.

        Raises:
            InputError: if the file is damaged or incomplete.
        """
        size: dict[str, int] = {}
        timestamp: int | None = None
        default_duration = max(1, round(1 / (self.frame_rate * self.time_base)))
        with _ffmpeg_errors(f"{self._path} is damaged or incomplete"):
            for packet in self._packets():
                if packet.stream.type == "audio" and packet.size:  # an empty packet marks the end of a stream
                    self.audio_packets.append(packet)
                if packet.stream.index != self.stream.index:
                    continue
                for frame in self.stream.decode(packet):
                    size = size or {"width": frame.width, "height": frame.height}
                    self.rotation = 90 * round(frame.rotation / 90)
                    frame_time = frame.dts if frame.pts is None else frame.pts
                    if timestamp is None:
                        timestamp = frame_time or 0
                    elif frame_time is not None and frame_time > timestamp:
                        timestamp = frame_time
                    else:  # old formats lack timestamps, and damaged files repeat them
                        timestamp += default_duration
                    self.timestamps.append((timestamp, frame.duration or default_duration))
                    yield np.rot90(_to_rgb(frame, size), self.rotation // 90)

    def _packets(self) -> "Iterator[av.Packet[Any]]":
        """Demux the container, and check at the end that the file is complete."""
        end = 0.0
        for packet in self._container.demux():
            if packet.is_corrupt:
                raise InputError(f"{self._path} is damaged or incomplete: it ends inside of a packet")
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            yield packet
        # In other containers the duration is an estimate.
        if self._container.format.name.startswith(("mov", "matroska")) and self._container.duration:
            expected_end = ((self._container.start_time or 0) + self._container.duration) / MICROSECONDS
            if end < expected_end - MAX_MISSING_SECONDS:
                raise InputError(f"{self._path} is incomplete: it ends after {end:.1f} s of {expected_end:.1f} s")


class VideoWriter:
    """Writes frames as H.264, with the timestamps and the audio of the video that they come from.

    Args:
        path: the file to write.
        source: the video that the frames come from, which is read at the same time.
    """

    def __init__(self, path: Path, source: VideoReader):
        import av

        self._source = source
        self._failure = f"{path.name} cannot be written"
        with _ffmpeg_errors(self._failure):
            self._container = av.open(f"file:{path}", "w")
            self._stream = self._container.add_stream("libx264", rate=source.frame_rate, options=X264_OPTIONS)
        self._suffix = path.suffix
        self._audio_streams: dict[int, av.AudioStream] = {}  # by the index of the source's stream
        self._durations: deque[int] = deque()  # of the frames in the encoder
        self._started = False

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *error: object) -> None:
        with _ffmpeg_errors(self._failure) if error[0] is None else suppress(Exception):
            self._container.close()

    def write(self, image: np.ndarray) -> None:
        """Encode the next frame.

        Args:
            image: (H, W, 3) uint8, RGB, of the same size for all frames.

        Raises:
            InputError: if that fails.
        """
        import av
        from av.video.reformatter import ColorRange, Colorspace

        # yuv420p needs even sides: it stores a color for each block of two by two pixels.
        image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        if not self._started:
            self._start_encoding(image.shape[1], image.shape[0])
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, duration = self._source.timestamps.popleft()
        frame.time_base = self._source.time_base
        self._durations.append(duration)
        with _ffmpeg_errors(self._failure):
            self._encode(frame)

    def flush(self) -> None:
        """Write the frames that are still in the encoder, and the rest of the audio.

        Raises:
            InputError: if that fails.
        """
        with _ffmpeg_errors(self._failure):
            self._encode(None)

    def _encode(self, frame: "av.VideoFrame | None") -> None:
        for packet in self._stream.encode(frame):  # x264 drops durations; without B-frames the order is unchanged
            packet.duration = self._durations.popleft()
            self._container.mux(packet)
        self._mux_audio()

    def _start_encoding(self, width: int, height: int) -> None:
        from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

        encoder, aspect_ratio = self._stream.codec_context, self._source.stream.sample_aspect_ratio
        encoder.width, encoder.height, encoder.time_base = width, height, self._source.time_base
        encoder.colorspace, encoder.color_range = Colorspace.ITU709, ColorRange.MPEG
        encoder.color_primaries, encoder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if aspect_ratio:
            encoder.sample_aspect_ratio = 1 / aspect_ratio if self._source.rotation % 180 else aspect_ratio
        streams = self._source.audio_streams
        try:
            self._audio_streams = {stream.index: self._container.add_stream_from_template(stream) for stream in streams}
            self._container.start_encoding()
        except ValueError as error:  # FFmpeg's "invalid argument" is a ValueError
            codecs = ", ".join(stream.codec_context.name for stream in streams) or "no audio"
            raise InputError(
                f"{self._suffix} files cannot hold this audio ({codecs}); choose a name with the suffix .mkv"
            ) from error
        self._started = True

    def _mux_audio(self) -> None:
        while self._source.audio_packets:
            packet = self._source.audio_packets.popleft()
            packet.stream = self._audio_streams[packet.stream.index]
            self._container.mux(packet)


def _to_rgb(frame: "av.VideoFrame", size: dict[str, int]) -> np.ndarray:
    """Return a frame's pixels at a size, (H, W, 3) uint8, RGB."""
    from av.video.reformatter import Colorspace

    unspecified_hd = frame.colorspace == UNSPECIFIED_COLORSPACE and frame.height >= HD_HEIGHT
    colorspace = Colorspace.ITU709 if unspecified_hd else None
    pixels: np.ndarray = frame.reformat(**size, format="rgb24", src_colorspace=colorspace).to_ndarray()
    return pixels


@contextmanager
def _ffmpeg_errors(message: str) -> Iterator[None]:
    """Raise FFmpeg's errors as InputError, with a message before FFmpeg's own."""
    import av

    try:
        yield
    except (av.FFmpegError, UnicodeError) as error:
        raise InputError(f"{message}: {getattr(error, 'strerror', None) or error}") from error

"""Write a video file: frames as H.264, and audio that is copied without re-encoding."""

from collections import deque
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.video.reader import ffmpeg_errors

if TYPE_CHECKING:
    import av

SUFFIXES = (".mp4", ".mov", ".mkv")
# Quality: losses are hardly visible. Speed: a third of the time of x264's default, in a file of about the same size. No
# B-frames: with a variable frame rate a file whose last packets are not in the order of their timestamps would report a
# duration that is too short.
X264_OPTIONS = {"crf": "18", "preset": "veryfast", "bf": "0"}


def check_suffix(path: Path) -> None:
    """Check that the suffix of a path names a container that `VideoWriter` can write.

    Args:
        path: the video to write.

    Raises:
        InputError: if the suffix is not one of `SUFFIXES`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} does not name a video format; expected a suffix of {', '.join(SUFFIXES)}")


class Source(Protocol):
    """What a writer asks of where the frames come from; see `VideoReader`."""

    frame_rate: Fraction
    time_base: Fraction
    timestamps: deque[tuple[int, int]]
    audio_streams: "tuple[av.AudioStream, ...]"
    audio_packets: "deque[av.Packet[Any]]"
    rotation: int
    sample_aspect_ratio: Fraction | None
    end: Fraction | None


class VideoWriter:
    """Writes frames as H.264, with the timestamps and the audio of the video that they come from.

    Args:
        path: the file to write.
        source: the video that the frames come from, which is read at the same time.
    """

    def __init__(self, path: Path, source: Source):
        import av
        from av.video.reformatter import VideoReformatter

        self._source = source
        self._failure = f"{path.name} cannot be written"
        with ffmpeg_errors(self._failure):
            self._container = av.open(f"file:{path}", "w")
            self._stream = self._container.add_stream("libx264", rate=source.frame_rate, options=X264_OPTIONS)
        self._suffix = path.suffix
        self._reformatter = VideoReformatter()
        self._audio_streams: dict[int, av.AudioStream] = {}  # by the index of the source's stream
        self._durations: deque[int] = deque()  # of the frames in the encoder
        self._started = False

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *error: object) -> None:
        with ffmpeg_errors(self._failure) if error[0] is None else suppress(Exception):
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

        height, width = image.shape[:2]
        if height % 2 or width % 2:  # yuv420p stores a color for each block of two by two pixels
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not self._started:
            self._start_encoding(image.shape[1], image.shape[0])
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, duration = self._source.timestamps.popleft()
        frame.time_base = self._source.time_base
        self._durations.append(duration)
        with ffmpeg_errors(self._failure):
            self._encode(frame)
            self._mux_audio(frame.pts * self._source.time_base)

    def flush(self) -> None:
        """Write the frames that are still in the encoder, and the rest of the audio.

        Raises:
            InputError: if that fails.
        """
        with ffmpeg_errors(self._failure):
            self._encode(None)
            self._mux_audio(self._source.end)

    def _encode(self, frame: "av.VideoFrame | None") -> None:
        for packet in self._stream.encode(frame):  # x264 drops durations; without B-frames the order is unchanged
            packet.duration = self._durations.popleft()
            self._container.mux(packet)

    def _start_encoding(self, width: int, height: int) -> None:
        from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

        encoder, aspect_ratio = self._stream.codec_context, self._source.sample_aspect_ratio
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

    def _mux_audio(self, end: Fraction | None) -> None:
        """Write the audio up to a time in seconds; all of it if None."""
        packets = self._source.audio_packets
        while packets:
            packet = packets[0]
            if end is not None and packet.pts is not None and packet.pts * packet.time_base >= end:
                return
            packet.stream = self._audio_streams[packet.stream.index]
            self._container.mux(packet)
            packets.popleft()

"""Videos as files: upright frames and their times, and sound that is passed on as it is."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.utils.optional_dependency import require

if TYPE_CHECKING:
    import av

ENDINGS = (".mp4", ".mov", ".mkv")
# x264's: losses that are hardly seen; and no B-frames, because a file whose last frames are decoded ahead of their
# time says that it is shorter than it is, if its frame rate varies.
ENCODING = {"crf": "18", "bf": "0"}
HD = 720  # lines, from which players take colors that nothing is told about for those of BT.709
UNTOLD = 2  # FFmpeg's AVCOL_SPC_UNSPECIFIED
MISSING = 0.5  # seconds that may lack at the end


def check_ending(path: Path) -> None:
    """Refuse a name that does not tell in which container a video is to be written.

    Raises:
        InputError: if the ending is none of `ENDINGS`.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path} does not name a kind of video; expected an ending of {', '.join(ENDINGS)}")


class VideoReader:
    """A video that is read once, from its start to its end.

    Args:
        path: of any kind that FFmpeg reads.

    Attributes:
        times: time and duration of each frame that was handed out, in units of `time_base`.
        sound: packets that were met on the way.
        turns: by 90 degrees, counterclockwise, that make a frame upright.

    Raises:
        InputError: if PyAV is missing, or the file is no video.
    """

    def __init__(self, path: Path):
        require("av", "video")
        import av

        self._path = path
        if not path.is_file():
            raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; expected a video")
        with _telling(f"{path} is not a video, or damaged"):
            # A playlist can name addresses: it must not reach out.
            self._container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
        kind = self._container.format.name
        pictures = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic  # the cover of an album
        ]
        if not pictures or kind in ("tty", "image2") or kind.endswith("_pipe"):  # text and photos, to FFmpeg
            self._container.close()
            raise InputError(f"{path} has no moving pictures; expected a video")
        self.stream = pictures[0]
        self.stream.thread_type = "AUTO"
        self.sounds = self._container.streams.audio
        self.times: deque[tuple[int, int]] = deque()
        self.sound: deque[av.Packet[Any]] = deque()
        self.turns = 0
        self.rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self.time_base = self.stream.time_base or 1 / self.rate

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *raised: object) -> None:
        self._container.close()

    @property
    def expected(self) -> int | None:
        """How many frames there are, as far as the file tells."""
        if self.stream.frames:
            return self.stream.frames
        return round(self._container.duration * self.rate / 10**6) if self._container.duration else None

    def frames(self) -> Iterator[np.ndarray]:
        """Yield upright frames, (H, W, 3) uint8, RGB, all of the size of the first.

        Raises:
            InputError: if the file is damaged, or ends before it should.
        """
        size: dict[str, int] = {}
        before: int | None = None
        usual = max(1, round(1 / (self.rate * self.time_base)))
        with _telling(f"{self._path} is damaged or incomplete"):
            for packet in self._packets():
                if packet.stream.type == "audio" and packet.size:  # an empty one marks the end
                    self.sound.append(packet)
                if packet.stream.index != self.stream.index:
                    continue
                for frame in self.stream.decode(packet):
                    size = size or {"width": frame.width, "height": frame.height}
                    self.turns = round(frame.rotation / 90)
                    time = frame.dts if frame.pts is None else frame.pts
                    if before is None:
                        before = time or 0
                    else:  # old formats do not tell all times, and damaged files tell them twice
                        before = time if time is not None and time > before else before + usual
                    self.times.append((before, frame.duration or usual))
                    yield np.rot90(_pixels(frame, size), self.turns)

    def _packets(self) -> "Iterator[av.Packet[Any]]":
        reached = 0.0
        for packet in self._container.demux():
            if packet.is_corrupt:
                raise InputError(f"{self._path} is damaged or incomplete: it ends within a frame or a sound")
            if packet.pts is not None and packet.time_base is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            yield packet
        # Of other containers the length is a guess.
        if self._container.format.name.startswith(("mov", "matroska")) and self._container.duration:
            length = ((self._container.start_time or 0) + self._container.duration) / 10**6
            if reached < length - MISSING:
                raise InputError(f"{self._path} is incomplete: it ends after {reached:.1f} s of {length:.1f} s")


class VideoWriter:
    """Pictures as H.264 at the times of the frames that they were made of, with the sound of these.

    Args:
        path: where to write.
        source: the video that gave the frames.
    """

    def __init__(self, path: Path, source: VideoReader):
        import av

        self._source = source
        self._failure = f"{path.name} cannot be written"
        with _telling(self._failure):
            self._container = av.open(f"file:{path}", "w")
            self._stream = self._container.add_stream("libx264", rate=source.rate, options=ENCODING)
        self._ending = path.suffix
        self._sounds: dict[int, av.AudioStream] = {}
        self._durations: deque[int] = deque()  # of the frames in the encoder
        self._begun = False

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *raised: object) -> None:
        with _telling(self._failure) if raised[0] is None else suppress(Exception):
            self._container.close()

    def write(self, picture: np.ndarray) -> None:
        """Write the picture of the next frame, (H, W, 3) uint8, RGB; all must have the same size.

        Raises:
            InputError: if that fails.
        """
        import av
        from av.video.reformatter import ColorRange, Colorspace

        # Colors are stored for blocks of two by two pixels.
        picture = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
        if not self._begun:
            self._begin(picture.shape[1], picture.shape[0])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, duration = self._source.times.popleft()
        frame.time_base = self._source.time_base
        self._durations.append(duration)
        with _telling(self._failure):
            self._encode(frame)

    def end(self) -> None:
        """Write what is left.

        Raises:
            InputError: if that fails.
        """
        with _telling(self._failure):
            self._encode(None)

    def _encode(self, frame: "av.VideoFrame | None") -> None:
        for packet in self._stream.encode(frame):  # x264 drops the durations; without B-frames the order stays
            packet.duration = self._durations.popleft()
            self._container.mux(packet)
        self._copy_sound()

    def _begin(self, width: int, height: int) -> None:
        from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

        encoder, shape = self._stream.codec_context, self._source.stream.sample_aspect_ratio
        encoder.width, encoder.height, encoder.time_base = width, height, self._source.time_base
        encoder.colorspace, encoder.color_range = Colorspace.ITU709, ColorRange.MPEG
        encoder.color_primaries, encoder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if shape:
            encoder.sample_aspect_ratio = 1 / shape if self._source.turns % 2 else shape
        sounds = self._source.sounds
        try:
            self._sounds = {sound.index: self._container.add_stream_from_template(sound) for sound in sounds}
            self._container.start_encoding()
        except ValueError as error:  # FFmpeg's "invalid argument" is one
            names = ", ".join(sound.codec_context.name for sound in sounds) or "no sound"
            raise InputError(
                f"the sound ({names}) does not go into {self._ending} files; choose a name that ends in .mkv"
            ) from error
        self._begun = True

    def _copy_sound(self) -> None:
        while self._source.sound:
            packet = self._source.sound.popleft()
            packet.stream = self._sounds[packet.stream.index]
            self._container.mux(packet)


def _pixels(frame: "av.VideoFrame", size: dict[str, int]) -> np.ndarray:
    """Return a frame's pixels, (H, W, 3) uint8, RGB."""
    from av.video.reformatter import Colorspace

    told = None if frame.colorspace != UNTOLD or frame.height < HD else Colorspace.ITU709
    pixels: np.ndarray = frame.reformat(**size, format="rgb24", src_colorspace=told).to_ndarray()
    return pixels


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn FFmpeg's errors into sentences."""
    import av

    try:
        yield
    except (av.FFmpegError, UnicodeError) as error:
        raise InputError(f"{what}: {getattr(error, 'strerror', None) or error}") from error

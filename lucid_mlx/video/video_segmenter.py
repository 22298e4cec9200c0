"""Load once, segment videos: a frame's segments, with the identities of the objects over time."""

import warnings
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing
from os import PathLike
from typing import Any, Literal

import mlx.core as mx

from lucid_mlx.call_options import CallOptions, call_options
from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import read_image
from lucid_mlx.preprocessing.image_config import ImageConfig
from lucid_mlx.preprocessing.preprocess import prefetch
from lucid_mlx.results import Segmentation, VideoSegmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.validation import check_choice, check_value
from lucid_mlx.video.reader import VideoReader
from lucid_mlx.video.tracking import MEMORY, Tracker, tracked
from lucid_mlx.video.windows import clip_frames, minvis_frames
from lucid_mlx.weights.registry import WeightsLike

Video = str | PathLike[str] | Iterable[Any]


class VideoSegmenter:
    """A network that is ready to segment videos: what it finds keeps its identity from frame to frame.

    Args:
        weights: anything that `lucid_mlx.load` takes, a model, or a `Segmenter`, whose network and settings are shared
            and which none of the other settings of a segmenter goes with.
        task: "semantic", "instance" or "panoptic"; None for what the weights were trained for. Clips and MinVIS know
            instances alone.
        mode: "online" segments frame by frame, any number of them in bounded memory; "clip" looks at many frames at
            once, as networks do that were trained so. None for what the weights were trained for.
        association: how identities are found online. "segments" follows what was found from frame to frame, and loses
            no time. "minvis" is MinVIS: it matches all queries, averages their class logits over the film, and
            therefore reads all of it, and keeps it in memory, before the first result.
        window: frames of a clip; None for what the memory allows, and at most 36. Longer films are cut into windows.
        memory: for how many frames "segments" remembers an object that is not seen.
        dtype: as of `Segmenter`.
        size: as of `Segmenter`.
        image_config: as of `Segmenter`.
        thing_ids: as of `Segmenter`.
        threshold: as of `Segmenter`.

    Attributes:
        segmenter: the segmenter of single frames.
        mode: "online" or "clip".
        association: how identities are found online.
        window: frames of a clip, if that was given.
        memory: for how many frames an object is remembered.

    Raises:
        InputError: if the weights cannot be had, or a value does not fit.
    """

    def __init__(
        self,
        weights: WeightsLike | Mask2Former | Segmenter,
        task: str | None = None,
        mode: Literal["clip", "online"] | None = None,
        *,
        association: Literal["segments", "minvis"] = "segments",
        window: int | None = None,
        memory: int = MEMORY,
        dtype: mx.Dtype | str | None = None,
        size: str | int | None = None,
        image_config: ImageConfig | None = None,
        thing_ids: Collection[int] | None = None,
        threshold: float | None = None,
    ):
        if mode is not None:
            check_choice("mode", mode, ("clip", "online"))
        check_choice("association", association, ("segments", "minvis"))
        check_value("window", window, int | None, 2, 10_000)
        check_value("memory", memory, int, 0, 1_000_000)
        settings: dict[str, Any] = {
            "task": task, "dtype": dtype, "size": size, "image_config": image_config, "thing_ids": thing_ids,
            "threshold": threshold,
        }  # fmt: skip
        if isinstance(weights, Segmenter):
            if given := [name for name, value in settings.items() if value is not None]:
                raise InputError(f"{given[0]} goes with weights; a Segmenter has its own")
            self.segmenter = weights
        else:
            if task is None and (mode == "clip" or association == "minvis"):
                settings["task"] = "instance"
            self.segmenter = Segmenter(weights, **settings)
        trained_on = self.segmenter.trained_on
        self.mode = mode or ("clip" if trained_on == "clips" and association == "segments" else "online")
        self.association, self.window, self.memory = association, window, memory
        if self.mode == "clip" and association == "minvis":
            raise InputError('association="minvis" goes with mode="online"; clips need none')
        if window is not None and self.mode != "clip":
            raise InputError(f'window goes with mode="clip"; this is "{self.mode}"')
        if self._whole and self.segmenter.task != "instance":
            what = "clips" if self.mode == "clip" else "MinVIS"
            raise InputError(f'{what} can only find instances, and the task is {self.segmenter.task}; give "instance"')
        if self.mode == "clip" and trained_on == "images":
            warnings.warn("the network was trained on images: clips are new to it", stacklevel=2)

    @property
    def _whole(self) -> bool:
        """Whether several frames are looked at together."""
        return self.mode == "clip" or self.association == "minvis"

    @property
    def _defaults(self) -> tuple[str, float | None]:
        return self.segmenter.task, self.segmenter.threshold

    def __repr__(self) -> str:
        how = "clips" if self.mode == "clip" else f"online, {self.association}"
        return f"<VideoSegmenter: {how}; {self.segmenter!r}>"

    def __call__(
        self, video: Video, *, batch_size: int = 1, thresholds: Thresholds | None = None,
        threshold: float | None = None, bgr: bool = False,
    ) -> VideoSegmentation:  # fmt: skip
        """Segment a video.

        Args:
            video: as `stream` takes it.
            batch_size: frames that run together; clips are not affected.
            thresholds: what counts as found.
            threshold: minimum score of a segment, where `thresholds` has none.
            bgr: arrays are BGR, as OpenCV has them.

        Returns:
            The result, which keeps masks as run lengths, and no frame.

        Raises:
            InputError: if the video cannot be read, or a value has a wrong type or is out of range.
        """
        source = local_path(video, "video") if isinstance(video, str | PathLike) else None
        name = source.name if source else None
        result = VideoSegmentation(self.segmenter.task, self.segmenter.labels, name, source)
        times: list[float] = []
        options = call_options(*self._defaults, batch_size, thresholds, threshold, bgr, for_tracking=not self._whole)
        options = options._replace(ahead=True)
        for number, frame in enumerate(self._stream(video, options, times)):
            result.add(frame, times[number] if times else None)
        return result

    def stream(
        self, video: Video, *, batch_size: int = 1, thresholds: Thresholds | None = None,
        threshold: float | None = None, bgr: bool = False, ahead: bool = False,
    ) -> Iterator[Segmentation]:  # fmt: skip
        """Segment a video, frame by frame.

        Args:
            video: a path of a file, which needs PyAV; or frames one after the other, each whatever `read_image` takes.
            batch_size: frames that run together; clips are not affected.
            thresholds: what counts as found.
            threshold: minimum score of a segment, where `thresholds` has none.
            bgr: arrays are BGR, as OpenCV has them.
            ahead: read frames and run the network on them before the results of those before them are asked for, as is
                done with a file. Not for frames that still have to happen, such as a camera's.

        Returns:
            The result of each frame, whose segments have a `track_id`, each computed when it is asked for.

        Raises:
            InputError: if the video cannot be read, or a value has a wrong type or is out of range.
        """
        check_value("ahead", ahead, bool)
        options = call_options(*self._defaults, batch_size, thresholds, threshold, bgr, for_tracking=not self._whole)
        options = options._replace(ahead=ahead or isinstance(video, str | PathLike))
        return self._stream(video, options, None)

    def _stream(self, video: Video, options: CallOptions, times: list[float] | None) -> Iterator[Segmentation]:
        """Segment a video; note the times of the frames of a file."""
        _check_video(video)
        return self._results(video, options, times)

    def _results(self, video: Video, options: CallOptions, times: list[float] | None) -> Iterator[Segmentation]:
        with closing(_frames(video, times)) as frames:
            if self._whole:
                arrays = (read_image(frame, bgr=options.bgr) for frame in frames)
                if self.mode == "clip":
                    yield from clip_frames(arrays, self.segmenter, options.thresholds, self.window)
                else:
                    yield from minvis_frames(arrays, self.segmenter, options.thresholds, options.batch_size)
                return
            tracker = Tracker(self.segmenter.thing_ids, self.memory)
            results = self.segmenter.stream_with(frames, options)
            if not options.ahead:
                yield from (tracked(result, tracker.update(result)) for result in results)
                return
            with closing(prefetch(results)) as made:
                yield from (tracked(result, tracker.update(result)) for result in made)


def _check_video(video: Video) -> None:
    """Check that a video is a path, or several frames."""
    if isinstance(video, str | PathLike):
        return
    shape = getattr(video, "shape", None)
    if isinstance(video, bytes) or hasattr(video, "read") or not isinstance(video, Iterable):
        raise InputError(f"video must be a path or several frames, got a {type(video).__name__}")
    if shape is not None and len(shape) != 4:
        raise InputError(f"an array of frames must have the shape (T, H, W, 3), got {tuple(shape)}")


def _frames(video: Video, times: list[float] | None) -> Generator[Any, None, None]:
    """Yield the frames of a video; note the times of those of a file, in seconds."""
    if not isinstance(video, str | PathLike):
        yield from video
        return
    with VideoReader(local_path(video, "video")) as reader:
        for frame in reader.frames():
            timestamp, _ = reader.timestamps.popleft()
            reader.audio_packets.clear()
            if times is not None:
                times.append(float(timestamp * reader.time_base))
            yield frame

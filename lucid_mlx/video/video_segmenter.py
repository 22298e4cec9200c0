"""Load once, segment videos: a frame's segments, with the identities of the objects over time."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import count
from os import PathLike
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing.image_config import ImageConfig
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, check_choice, check_value
from lucid_mlx.video.io import VideoReader
from lucid_mlx.video.tracking import Tracker
from lucid_mlx.weights.registry import WeightsLike

Association = Literal["segments", "minvis"]


class VideoSegmenter:
    """A network that is ready to segment videos: what it finds keeps its identity from frame to frame.

    Args:
        weights: anything that `lucid_mlx.load` takes, a model, or a `Segmenter`, whose network and settings are shared.
        task: "semantic", "instance" or "panoptic"; None for what the weights were trained for.
        mode: "online" takes one frame after the other, any number of them; None.
        association: how identities are found online: "segments".
        dtype: as of `Segmenter`.
        size: as of `Segmenter`.
        image_config: as of `Segmenter`.
        thing_ids: as of `Segmenter`.
        threshold: as of `Segmenter`.

    Attributes:
        segmenter: the segmenter of single frames.

    Raises:
        InputError: if the weights cannot be had, or a value does not fit.
    """

    def __init__(
        self,
        weights: WeightsLike | Mask2Former | Segmenter,
        task: str | None = None,
        mode: Literal["clip", "online"] | None = None,
        *,
        association: Association = "segments",
        dtype: mx.Dtype | str | None = None,
        size: str | int | None = None,
        image_config: ImageConfig | None = None,
        thing_ids: Collection[int] | None = None,
        threshold: float | None = None,
    ):
        check_choice("association", association, ("segments",))
        if mode is not None:
            check_choice("mode", mode, ("online",))
        if not isinstance(weights, Segmenter):
            weights = Segmenter(
                weights, task, dtype=dtype, size=size, image_config=image_config, thing_ids=thing_ids,
                threshold=threshold,
            )  # fmt: skip
        self.segmenter = weights
        self.mode, self.association = mode or "online", association

    def stream(
        self,
        video: str | PathLike[str] | Iterable[Any],
        *,
        batch_size: int = 1,
        thresholds: Thresholds | None = None,
        threshold: float | None = None,
        bgr: bool = False,
    ) -> Iterator[Segmentation]:
        """Segment a video, frame by frame.

        Args:
            video: a path of a file, which needs PyAV; or frames one after the other, each whatever `read_image` takes.
            batch_size: frames that run together.
            thresholds: what counts as found.
            threshold: minimum score of a segment, where `thresholds` has none.
            bgr: arrays are BGR, as OpenCV has them.

        Yields:
            The result of each frame, whose segments have a `track_id`.

        Raises:
            InputError: if the video cannot be read, or a value has a wrong type or is out of range.
        """
        check_value("batch_size", batch_size, int, 1, MAX_BATCH_SIZE)
        if isinstance(video, str | PathLike):
            with VideoReader(local_path(video, "video")) as reader:
                yield from self.stream(
                    reader.frames(), batch_size=batch_size, thresholds=thresholds, threshold=threshold
                )
            return
        if isinstance(video, np.ndarray | mx.array) and video.ndim != 4:
            raise InputError(f"an array of frames must be (T, H, W, 3), got {tuple(video.shape)}")
        tracker, numbers = Tracker(), count(1)
        ids: dict[tuple[int, int], int] = {}
        results = self.segmenter.stream(
            iter(video), batch_size=batch_size, thresholds=thresholds, threshold=threshold, bgr=bgr
        )
        for result in results:
            keys = list(zip((one.label_id for one in result.segments), tracker.update(result), strict=True))
            for key in keys:
                if key not in ids:
                    ids[key] = next(numbers)
            segments = tuple(replace(one, track_id=ids[key]) for one, key in zip(result.segments, keys, strict=True))
            yield replace(result, segments=segments)

"""Load once, segment many: paths, pictures and arrays in, segments out."""

import os
import warnings
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sized
from contextlib import closing
from itertools import islice
from os import PathLike
from typing import Any, Literal, NamedTuple, overload

import mlx.core as mx
import numpy as np
from tqdm.auto import tqdm

from lucid_mlx import backends
from lucid_mlx.call_options import CallOptions, call_options, warn_of_threshold
from lucid_mlx.compiled import evaluate
from lucid_mlx.datasets import TASKS, known_classes
from lucid_mlx.errors import InputError
from lucid_mlx.inference import Inference, Logits, Running, check_memory
from lucid_mlx.loading import build_model, default_image_config, load_checkpoint
from lucid_mlx.models import Mask2Former
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import ImageBatch, batches, read_image
from lucid_mlx.preprocessing.image_config import ImageConfig, parse_size
from lucid_mlx.preprocessing.preprocess import one_ahead, prefetch
from lucid_mlx.preprocessing.read_image import ImageLike
from lucid_mlx.results import Segmentation
from lucid_mlx.results.from_logits import segmentations
from lucid_mlx.results.notebook import table
from lucid_mlx.utils.text import examples, hide_bar, shown
from lucid_mlx.utils.validation import MAX_COUNT, check_choice, check_value, whole_numbers
from lucid_mlx.weights.registry import WeightsLike

# What to expect of a task other than that which a network was trained for. One for panoptic segmentation does all.
_EXPECT = {
    ("semantic", "instance"): "objects of a class that touch come as one",
    ("semantic", "panoptic"): "objects of a class that touch come as one",
    ("instance", "semantic"): "it knows no background, so that every pixel gets the class of some object",
    ("instance", "panoptic"): "it knows no background, and finds objects alone",
}


class _Photo(NamedTuple):
    """An image that was read: (H, W, 3) uint8, and its name if it has one."""

    pixels: np.ndarray
    name: str | None


class _Batch(NamedTuple):
    """Photos with inputs of one size: their numbers, the photos, the input, and the network that runs on it."""

    numbers: list[int]
    photos: list[_Photo]
    images: ImageBatch
    running: Running


def _cancel(started: tuple[list[_Photo | None], list[_Batch]]) -> None:
    for batch in started[1]:
        batch.running.cancel()


class Segmenter:
    """A network that is ready to segment images. Threads may share it: one thread runs the network for all of
    them, in turn, and another one makes results of its outputs.

    Args:
        weights: anything that `lucid_mlx.load` takes, or a model, which is put into inference mode.
        task: "semantic", "instance" or "panoptic"; None for what the weights were trained for, semantic if that is
            not known.
        dtype: floating-point type to compute in, such as "float16" or `mlx.core.float16`. None for float16 on a GPU,
            where it is faster and the classes of 99.9 % of the pixels stay (benchmarks/precision.py), and float32 on
            the CPU, where half precision is slow.
        size: how large the network sees an image: 512, "640x480" (width x height), "800/1333" (shorter side, and
            the most that the longer may be). None for the size at which the accuracy of the weights was published, if
            they are known, else for their own image configuration; `image_config_note` says which.
        image_config: how images are prepared, in place of what the weights say.
        thing_ids: the classes that have countable objects, in place of what the weights or the names of the classes
            say.
        threshold: minimum score of a segment, for calls that give none; None for the task's default.
        keep_candidates: keep in each result what `Segmentation.with_threshold` needs, which says how much that is.

    Attributes:
        model: the network.
        task: what it looks for.
        threshold: the minimum score of a segment for calls that give none.
        keep_candidates: whether results keep what `with_threshold` needs.
        labels: names of its classes, by number.
        image_config: how images are prepared, and `image_config_note`, why so.
        thing_ids: the classes that have countable objects; None if that is not known, and then all are taken for such.
        category_ids: the classes' numbers in the annotations of the dataset that the weights were trained on, such as
            COCO's 1 to 200, by class; None if the dataset is not known. For `Segmentation.to_coco`.
        trained_on: "clips" if the network was trained on clips of videos, else "images".
        resize_scores: whether semantic maps are made of resized scores, as of `semantic_segmentation`.
        inference: what runs the network.

    Raises:
        InputError: if the weights cannot be had, or a value does not fit.
    """

    def __init__(
        self,
        weights: WeightsLike | Mask2Former,
        task: str | None = None,
        *,
        dtype: mx.Dtype | str | None = None,
        size: str | int | None = None,
        image_config: ImageConfig | None = None,
        thing_ids: Collection[int] | None = None,
        threshold: float | None = None,
        keep_candidates: bool = False,
    ):
        backends.check_not_forked()
        check_value("threshold", threshold, float | None, 0, 1)
        check_value("keep_candidates", keep_candidates, bool)
        if task is not None:
            check_choice("task", task, TASKS)
        if not isinstance(image_config, ImageConfig | None):
            raise InputError(f"image_config must be an ImageConfig, got {shown(image_config)}")
        if thing_ids is not None:
            thing_ids = whole_numbers("thing_ids", thing_ids)
        trained_for: str | None = None
        dataset: str | None = None
        self.trained_on = "images"
        if isinstance(weights, Mask2Former):
            if dtype is not None:
                raise InputError("dtype goes with weights; set a model's own with model.set_dtype")
            self.model = weights
            self.model.eval()
            evaluate("a parameter of the model", self.model.parameters())
            config, note = ImageConfig(), "384x384, as of the published models"
        else:
            checkpoint = load_checkpoint(weights)
            self.model = build_model(checkpoint, dtype or backends.default_dtype())
            config, note = default_image_config(checkpoint)
            trained_for, dataset, self.trained_on = checkpoint.task, checkpoint.dataset, checkpoint.trained_on
            thing_ids = checkpoint.thing_ids if thing_ids is None else thing_ids
        if image_config is not None:
            config, note = image_config, "the image configuration that was given"
        if size is not None:
            check_value("size", size, str | int, 1, MAX_COUNT)
            config, note = parse_size(str(size), config), f"size {size}, as asked"
        self.image_config, self.image_config_note = config, note
        self.labels = self.model.config.id2label
        known = known_classes(list(self.labels.values()), dataset)
        if thing_ids is None and known is not None:
            thing_ids = [class_id for class_id, entry in enumerate(known) if entry.is_thing]
        self.thing_ids = None if thing_ids is None else frozenset(thing_ids)
        self.category_ids = None if known is None else {n: entry.category_id for n, entry in enumerate(known)}
        self.task = task or trained_for or ("instance" if self.trained_on == "clips" else "semantic")
        self.threshold = threshold
        self.keep_candidates = keep_candidates
        # The original project makes the maps of networks for semantic segmentation alone in this order.
        self.resize_scores = trained_for == "semantic"
        self.inference = Inference(self.model)
        if expect := _EXPECT.get((trained_for or "", self.task)):
            warnings.warn(f"the weights are for {trained_for} segmentation: {expect}", stacklevel=2)
        warn_of_threshold(self.task, threshold, 3)

    def __repr__(self) -> str:
        return f"<Segmenter: {self.task} segmentation, {len(self.labels)} classes, {self.model.dtype}>"

    def _repr_html_(self) -> str:
        """Return the table that notebooks show."""
        facts = {
            "task": self.task,
            "classes": f"{len(self.labels)}: {examples(list(self.labels.values()), 5)}",
            "type to compute in": str(self.model.dtype).removeprefix("mlx.core."),
            "images": self.image_config_note,
            "threshold": "the default" if self.threshold is None else self.threshold,
        }
        return table(list(facts.items()))

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, batch_size: int = 1, thresholds: Thresholds | None = None,
        threshold: float | None = None, bgr: bool = False, on_error: Literal["raise"] = "raise",
    ) -> list[Segmentation]: ...  # fmt: skip

    @overload
    def __call__(
        self, images: ImageLike, *, batch_size: int = 1, thresholds: Thresholds | None = None,
        threshold: float | None = None, bgr: bool = False, on_error: Literal["raise"] = "raise",
    ) -> Segmentation: ...  # fmt: skip

    @overload
    def __call__(
        self, images: Any, *, batch_size: int = 1, thresholds: Thresholds | None = None,
        threshold: float | None = None, bgr: bool = False, on_error: Literal["skip"],
    ) -> Any: ...  # fmt: skip

    def __call__(
        self, images: Any, *, batch_size: int = 1, thresholds: Thresholds | None = None,
        threshold: float | None = None, bgr: bool = False, on_error: Literal["raise", "skip"] = "raise",
    ) -> Any:  # fmt: skip
        """Segment an image, or a list of them.

        Args:
            images: whatever `read_image` takes, or a list or tuple of that.
            batch_size: images of the same size that run together.
            thresholds: what counts as found.
            threshold: minimum score of a segment, where `thresholds` has none.
            bgr: arrays and tensors are BGR, as OpenCV has them.
            on_error: what to do about an image that cannot be read: "raise", or "skip" it with a warning.

        Returns:
            The result for one image; a list for a list. None in the place of an image that was skipped.

        Raises:
            InputError: if an image cannot be read, or a value has a wrong type or is out of range.
        """
        options = call_options(self.task, self.threshold, batch_size, thresholds, threshold, bgr, on_error)
        if isinstance(images, list | tuple):
            return list(self._stream(images, options))
        if isinstance(images, Iterator) and not hasattr(images, "read"):
            raise InputError(f"an image or a list is expected, got a {type(images).__name__}; `stream` takes it")
        (result,) = self._stream([images], options)
        return result

    def stream(
        self, images: Iterable[Any], *, batch_size: int = 1, thresholds: Thresholds | None = None,
        threshold: float | None = None, bgr: bool = False, on_error: Literal["raise", "skip"] = "raise",
        progress: bool = False, for_tracking: bool = False,
    ) -> Iterator[Segmentation]:  # fmt: skip
        """Segment any number of images, in order; of those that are at hand the next batch is read meanwhile.

        Args:
            images: what `read_image` takes, one after the other.
            batch_size: images that are read together; those of the same size among them run together.
            thresholds: what counts as found.
            threshold: minimum score of a segment, where `thresholds` has none.
            bgr: arrays and tensors are BGR, as OpenCV has them.
            on_error: what to do about an image that cannot be read: "raise", or "skip" it with a warning at the end.
            progress: show a progress bar, if standard error is a terminal or this a notebook.
            for_tracking: keep in each result what `lucid_mlx.video.Tracker` needs: a small mask of each segment.

        Returns:
            The results, each computed when it is asked for; none of an image that was skipped.

        Raises:
            InputError: if an image cannot be read, or a value has a wrong type or is out of range.
        """
        options = call_options(
            self.task, self.threshold, batch_size, thresholds, threshold, bgr, on_error, progress, for_tracking
        )
        single = isinstance(images, str | bytes | PathLike | mx.array) or hasattr(images, "__array__")
        if single or hasattr(images, "read") or not isinstance(images, Iterable):
            raise InputError(f"stream takes several images, got a {type(images).__name__}; put it into a list")
        return self.stream_with(images, options)

    def stream_with(self, images: Iterable[Any], options: CallOptions) -> Iterator[Segmentation]:
        """Segment as `stream` does.

        Args:
            images: as `stream` takes them.
            options: what `call_options` returned.

        Returns:
            The results, each computed when it is asked for.
        """
        return (result for result in self._stream(images, options) if result is not None)

    def _stream(self, images: Iterable[Any], options: CallOptions) -> Iterator[Segmentation | None]:
        """Segment images; an image that was skipped gives None."""
        if isinstance(images, list | tuple) and (lazy := [image for image in images if isinstance(image, mx.array)]):
            evaluate("an image", lazy)
        return self._results(images, options)

    def _results(self, images: Iterable[Any], options: CallOptions) -> Iterator[Segmentation | None]:
        total = len(images) if isinstance(images, Sized) else None
        skipped: list[str] = []
        numbered, count = enumerate(images), 0
        read: Generator[list[_Photo | None], None, None] = (
            [self._read(source, None if total == 1 else number, options, skipped) for number, source in batch]
            for batch in iter(lambda: list(islice(numbered, options.batch_size)), [])
        )
        ahead = options.ahead or (total is not None and total > options.batch_size)
        read = prefetch(read) if ahead else read
        started = ((photos, self._start([photo for photo in photos if photo is not None])) for photos in read)
        with tqdm(total=total, unit="image", disable=hide_bar(options.progress)) as bar, closing(read):
            for photos, group in one_ahead(started, _cancel) if ahead else started:
                results = self._finish(group, options)
                for photo in photos:
                    bar.update()
                    count += 1
                    yield None if photo is None else next(results)
        if skipped:
            more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
            warnings.warn(f"skipped {len(skipped)} of {count} images: {'; '.join(skipped[:3])}{more}", stacklevel=3)

    def _read(self, source: Any, number: int | None, options: CallOptions, skipped: list[str]) -> _Photo | None:
        """Read an image; if it cannot be read and may be skipped, note why, and return None."""
        name = image_name(source)
        try:
            pixels = read_image(source, bgr=options.bgr)
            self.image_config.input_size(*pixels.shape[:2])  # refuses sides that no network takes
            return _Photo(pixels, name)
        except InputError as error:
            told = str(error)
            if number is not None and (name is None or name not in told):
                told = f"images[{number}]: {told}"
            if not options.skip:
                raise InputError(told) from error
            skipped.append(told)
            return None

    def _start(self, photos: list[_Photo]) -> list[_Batch]:
        """Start the network on photos, without waiting for it: a batch for each input size."""
        pixels = [photo.pixels for photo in photos]
        for size, count in Counter(self.image_config.input_size(*image.shape[:2]) for image in pixels).items():
            check_memory(self.model, *size, count)
        return [
            _Batch(numbers, [photos[number] for number in numbers], images, self.inference.start(images.pixels))
            for numbers, images in (batches(pixels, self.image_config, len(photos)) if photos else ())
        ]

    def _finish(self, started: list[_Batch], options: CallOptions) -> Iterator[Segmentation]:
        """Wait for the network, and yield the photos' results in order."""
        results: dict[int, Segmentation] = {}
        for batch in started:
            logits = batch.running.logits()
            found = backends.POSTPROCESSING.run(self._postprocess, logits, batch.images, batch.photos, options)
            results |= dict(zip(batch.numbers, found, strict=True))
        yield from (results[number] for number in range(len(results)))

    def _postprocess(
        self,
        logits: Logits,
        images: ImageBatch,
        photos: list[_Photo],
        options: CallOptions,
    ) -> list[Segmentation]:
        """Turn logits into results at the photos' own sizes."""
        return segmentations(
            logits,
            photos,
            self.task,
            self.labels,
            thing_ids=self.thing_ids,
            thresholds=options.thresholds,
            resize_scores=self.resize_scores,
            keep_candidates=self.keep_candidates,
            for_tracking=options.for_tracking,
            sizes={"input_size": images.pixels.shape[1:3], "content_sizes": images.content_sizes},
        )


def image_name(source: Any) -> str | None:
    """Return how to call an image: a path or an address has a name, pixels have none."""
    if isinstance(source, str | PathLike):
        return os.fsdecode(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and name else None

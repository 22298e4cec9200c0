"""Load once, segment many: paths, pictures and arrays in, segments out."""

import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from typing import Any, overload

import mlx.core as mx
import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.ahead import ahead
from lucid_mlx.convert.pipeline import obtain
from lucid_mlx.datasets import DATASETS, dataset_classes
from lucid_mlx.errors import InputError
from lucid_mlx.images import Batch, batches, read_image
from lucid_mlx.images.postprocess import instance_segmentation, panoptic_segmentation, semantic_segmentation
from lucid_mlx.images.read import Source
from lucid_mlx.images.recipes import Recipe, parse_size
from lucid_mlx.images.result import TASKS, Segmentation
from lucid_mlx.models import Mask2Former
from lucid_mlx.models.compiled import compiled
from lucid_mlx.models.load import build
from lucid_mlx.weights.address import Weights
from lucid_mlx.weights.recipe import default_recipe

# What to expect of a task other than that which a network was trained for. One for panoptic segmentation does all.
_EXPECT = {
    ("semantic", "instance"): "objects of a class that touch come as one",
    ("semantic", "panoptic"): "objects of a class that touch come as one",
    ("instance", "semantic"): "it knows no background, so that every pixel gets the class of some object",
    ("instance", "panoptic"): "it knows no background, and finds objects alone",
}

THRESHOLDS = {"instance": 0.5, "panoptic": 0.8}  # the original project's; in a semantic map every pixel has a class

_TURN = threading.Lock()  # segmenters may share a model, and all of them the machine's memory


@dataclass(frozen=True)
class Limits:
    """What counts as found; the defaults are the original project's.

    Attributes:
        threshold: sureness from which a segment counts; the task's in `THRESHOLDS` if None.
        mask_threshold: sureness from which a pixel belongs to a panoptic segment.
        overlap_mask_area_threshold: the part of its mask that others must leave to a panoptic segment.
        top_k: how many pairs of query and class may be instances.

    Raises:
        InputError: if one is out of range.
    """

    threshold: float | None = None
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.8
    top_k: int = 100

    def __post_init__(self) -> None:
        for name in ("threshold", "mask_threshold", "overlap_mask_area_threshold"):
            value = getattr(self, name)
            if value is None and name == "threshold":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InputError(f"{name} must be a number from 0 to 1, got {value!r}")
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 1:
            raise InputError(f"top_k must be a whole number of at least 1, got {self.top_k!r}")


class Segmenter:
    """A network that is ready to segment images. Threads may share it; they take turns.

    (MLX 0.32 on Linux may abort a process at its end, after all is done, if a thread that has ended used MLX.)

    Args:
        weights: anything that `lucid_mlx.load` takes, or a model, which is put into inference mode.
        task: "semantic", "instance" or "panoptic"; None for what the weights were trained for, semantic if that is
            not known.
        dtype: floating-point type to compute in. None for float16 on a GPU, where it is faster and the classes of
            99.9 % of the pixels stay (benchmarks/precision.py), and float32 on the CPU, where half precision is slow.
        size: how large the network sees an image: "512", "640x480" (width x height), "800/1333" (shorter side, and
            the most that the longer may be). None for the size at which the accuracy of the weights was published, if
            they are known, else for their own recipe; `recipe_note` says which.

    Attributes:
        model: the network.
        task: what it looks for.
        labels: names of its classes, by number.
        recipe: how images are prepared, and `recipe_note`, why so.
        thing_ids: the classes that have countable objects; None if that is not known, and then all are taken for such.

    Raises:
        InputError: if the weights cannot be had, or a value does not fit.
    """

    def __init__(
        self,
        weights: Weights | Mask2Former,
        task: str | None = None,
        *,
        dtype: mx.Dtype | None = None,
        size: str | None = None,
    ):
        if task is not None and task not in TASKS:
            raise InputError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
        dataset: str | None = None
        things: str | None = None
        on_gpu = mx.default_device().type == mx.DeviceType.gpu
        if isinstance(weights, Mask2Former):
            self.model, self.recipe, self.recipe_note = weights, Recipe(), "384x384, as of the published models"
            if dtype is not None:
                raise InputError("dtype goes with weights; set a model's own with model.set_dtype")
        else:
            checkpoint = obtain(weights)
            self.model = build(checkpoint, dtype or (mx.float16 if on_gpu else mx.float32))
            self.recipe, self.recipe_note = default_recipe(checkpoint)
            dataset, things = (checkpoint.metadata.get(name) for name in ("dataset", "things"))
        if size is not None:
            self.recipe, self.recipe_note = parse_size(size, self.recipe), f"size {size}, as asked"
        self.model.eval()
        # An array that waits to be computed or read belongs to the thread that made it; others cannot use it.
        mx.eval(self.model.parameters())
        self._forward = compiled(self.model) if on_gpu else self.model
        self.labels = self.model.config.id2label
        self.thing_ids = _things(self.labels, dataset) if things is None else frozenset(map(int, things.split()))
        trained = next((known for known in TASKS if dataset and dataset.endswith(f"_{known}")), None)
        # The original project makes the maps of networks for semantic segmentation alone in this order.
        self._resize_scores = trained == "semantic"
        self.task = task or trained or "semantic"
        if expect := _EXPECT.get((trained or "", self.task)):
            warnings.warn(f"the weights are for {trained} segmentation: {expect}", stacklevel=2)

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, batch_size: int = 1, limits: Limits | None = None
    ) -> list[Segmentation]: ...

    @overload
    def __call__(self, images: Source, *, batch_size: int = 1, limits: Limits | None = None) -> Segmentation: ...

    def __call__(
        self, images: Any, *, batch_size: int = 1, limits: Limits | None = None
    ) -> Segmentation | list[Segmentation]:
        """Segment an image, or a list of them.

        Args:
            images: whatever `read_image` takes, or a list or tuple of that.
            batch_size: images of the same size that run together.
            limits: what counts as found.

        Returns:
            The result for one image; a list for a list.

        Raises:
            InputError: if an image cannot be read.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images, batch_size=batch_size, limits=limits))
        (result,) = self.stream([images], batch_size=batch_size, limits=limits)
        return result

    def stream(
        self,
        images: Iterable[Any],
        *,
        batch_size: int = 1,
        limits: Limits | None = None,
        progress: bool = False,
    ) -> Iterator[Segmentation]:
        """Segment any number of images, in order; of those that are at hand the next batch is read meanwhile.

        Args:
            images: what `read_image` takes, one after the other.
            batch_size: images that are read together; those of the same size among them run together.
            limits: what counts as found.
            progress: show a progress bar, if standard error is a terminal.

        Raises:
            InputError: if an image cannot be read, or the batch size is below 1.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
        single = isinstance(images, str | bytes | PathLike | np.ndarray | mx.array) or hasattr(images, "read")
        if single or not isinstance(images, Iterable):
            raise InputError(f"stream takes several images, got a {type(images).__name__}; put it into a list")
        return self._stream(images, batch_size, limits or Limits(), progress)

    def _stream(self, images: Iterable[Any], batch_size: int, limits: Limits, progress: bool) -> Iterator[Segmentation]:
        total = len(images) if isinstance(images, Sized) else None
        waiting = iter(images)
        read = (
            (sources, [read_image(source) for source in sources])
            for sources in iter(lambda: list(islice(waiting, batch_size)), [])
        )
        if total is not None:  # else they may still have to happen, as a camera's do
            mx.eval([image for image in images if isinstance(image, mx.array)])  # by the thread that made them
            read = ahead(read)
        with tqdm(total=total, unit="image", disable=None if progress else True) as bar, closing(read):
            for sources, photos in read:
                for result in self._segment(sources, photos, limits):
                    bar.update()
                    yield result

    def _segment(self, sources: list[Any], photos: list[np.ndarray], limits: Limits) -> list[Segmentation]:
        results: dict[int, Segmentation] = {}
        with _TURN:
            for places, batch in batches(photos, self.recipe, len(photos)):
                outputs = self._forward(batch.pixels.transpose(0, 3, 1, 2))
                some, names = [photos[place] for place in places], [_name(sources[place]) for place in places]
                for place, result in zip(places, self._results(outputs, batch, some, names, limits), strict=True):
                    results[place] = result
        return [results[place] for place in range(len(sources))]

    def _results(
        self,
        outputs: Mapping[str, Any],
        batch: Batch,
        photos: list[np.ndarray],
        names: list[str | None],
        limits: Limits,
    ) -> list[Segmentation]:
        """Turn the network's outputs into results at the photos' own sizes."""
        input_size = (batch.pixels.shape[1], batch.pixels.shape[2])
        sizes: dict[str, Any] = {
            "target_sizes": [photo.shape[:2] for photo in photos],
            "seen_sizes": batch.seen,
        }
        parts = list(zip(photos, names, strict=True))
        if self.task == "semantic":
            maps = semantic_segmentation(outputs, input_size, resize_scores=self._resize_scores, **sizes)
            return [
                Segmentation.of_semantic(photo, np.array(classes), self.labels, name)
                for (photo, name), classes in zip(parts, maps, strict=True)
            ]
        threshold = THRESHOLDS[self.task] if limits.threshold is None else limits.threshold
        if self.task == "panoptic":
            found = panoptic_segmentation(
                outputs,
                input_size,
                thing_ids=self.labels if self.thing_ids is None else self.thing_ids,
                threshold=threshold,
                mask_threshold=limits.mask_threshold,
                overlap_mask_area_threshold=limits.overlap_mask_area_threshold,
                **sizes,
            )
            return [
                Segmentation.of_panoptic(photo, panoptic, self.labels, name)
                for (photo, name), panoptic in zip(parts, found, strict=True)
            ]
        instances = instance_segmentation(outputs, input_size, thing_ids=self.thing_ids, top_k=limits.top_k, **sizes)
        return [
            Segmentation.of_instances(photo, objects, threshold, self.labels, name)
            for (photo, name), objects in zip(parts, instances, strict=True)
        ]


def _name(source: Any) -> str | None:
    """Return how to call an image: a path or an address has a name, pixels have none."""
    if isinstance(source, str | PathLike):
        return os.fsdecode(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and name else None


def _things(labels: Mapping[int, str], dataset: str | None) -> frozenset[int] | None:
    """Return the classes with countable objects; None if neither the dataset nor the names tell."""
    names = tuple(labels.values())
    for known in DATASETS:
        classes = dataset_classes(known)
        if len(classes) == len(names) and (known == dataset or tuple(entry.name for entry in classes) == names):
            return frozenset(number for number, entry in enumerate(classes) if entry.thing)
    return None

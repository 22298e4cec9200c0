"""Load once, segment many: paths, pictures and arrays in, segments out."""

import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from contextlib import closing
from functools import lru_cache
from itertools import islice
from os import PathLike
from typing import Any, overload

import mlx.core as mx
import numpy as np
from tqdm.auto import tqdm

from lucid_mlx import backends
from lucid_mlx.datasets import TASKS, known_classes
from lucid_mlx.errors import InputError
from lucid_mlx.loading import build_model, default_image_config, load_checkpoint
from lucid_mlx.models import Mask2Former
from lucid_mlx.postprocessing import instance_segmentation, panoptic_segmentation, semantic_segmentation
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import ImageBatch, batches, read_image
from lucid_mlx.preprocessing.image_config import ImageConfig, parse_size
from lucid_mlx.preprocessing.preprocess import prefetch
from lucid_mlx.preprocessing.read_image import ImageLike
from lucid_mlx.results import Segmentation
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, check_choice, check_values, whole_numbers
from lucid_mlx.weights.registry import WeightsLike

# What to expect of a task other than that which a network was trained for. One for panoptic segmentation does all.
_EXPECT = {
    ("semantic", "instance"): "objects of a class that touch come as one",
    ("semantic", "panoptic"): "objects of a class that touch come as one",
    ("instance", "semantic"): "it knows no background, so that every pixel gets the class of some object",
    ("instance", "panoptic"): "it knows no background, and finds objects alone",
}
COMPILED_SHAPES = 16  # image configurations make sides multiples of 32, so that a folder of photos has few

_LOCK = threading.Lock()  # segmenters may share a model, and all of them the machine's memory

Forward = Callable[[mx.array], Mapping[str, mx.array]]


class Segmenter:
    """A network that is ready to segment images. Threads may share it; they take turns.

    (MLX 0.32 on Linux may abort a process at its end, after all is done, if a thread that has ended used MLX.)

    Args:
        weights: anything that `lucid_mlx.load` takes, or a model, which is put into inference mode.
        task: "semantic", "instance" or "panoptic"; None for what the weights were trained for, semantic if that is
            not known.
        dtype: floating-point type to compute in, such as "float16" or `mlx.core.float16`. None for float16 on a GPU,
            where it is faster and the classes of 99.9 % of the pixels stay (benchmarks/precision.py), and float32 on
            the CPU, where half precision is slow.
        size: how large the network sees an image: "512", "640x480" (width x height), "800/1333" (shorter side, and
            the most that the longer may be). None for the size at which the accuracy of the weights was published, if
            they are known, else for their own image configuration; `image_config_note` says which.
        image_config: how images are prepared, in place of what the weights say.
        thing_ids: the classes that have countable objects, in place of what the weights or the names of the classes
            say.

    Attributes:
        model: the network.
        task: what it looks for.
        labels: names of its classes, by number.
        image_config: how images are prepared, and `image_config_note`, why so.
        thing_ids: the classes that have countable objects; None if that is not known, and then all are taken for such.
        category_ids: the classes' numbers in the annotations of the dataset that the weights were trained on, such as
            COCO's 1 to 200, by class; None if the dataset is not known. For `Segmentation.to_coco`.

    Raises:
        InputError: if the weights cannot be had, or a value does not fit.
    """

    def __init__(
        self,
        weights: WeightsLike | Mask2Former,
        task: str | None = None,
        *,
        dtype: mx.Dtype | str | None = None,
        size: str | None = None,
        image_config: ImageConfig | None = None,
        thing_ids: Collection[int] | None = None,
    ):
        if task is not None:
            check_choice("task", task, TASKS)
        if not isinstance(image_config, ImageConfig | None):
            raise InputError(f"image_config must be an ImageConfig, got {shown(image_config)}")
        if thing_ids is not None:
            thing_ids = whole_numbers("thing_ids", thing_ids)
        trained_for: str | None = None
        dataset: str | None = None
        if isinstance(weights, Mask2Former):
            if dtype is not None:
                raise InputError("dtype goes with weights; set a model's own with model.set_dtype")
            self.model = weights
            self.model.eval()
            # An array that waits to be computed belongs to the thread that made it; others cannot use it.
            mx.eval(self.model.parameters())
            config, note = ImageConfig(), "384x384, as of the published models"
        else:
            checkpoint = load_checkpoint(weights)
            self.model = build_model(checkpoint, dtype or backends.default_dtype())
            config, note = default_image_config(checkpoint)
            trained_for, dataset = checkpoint.task, checkpoint.dataset
            thing_ids = checkpoint.thing_ids if thing_ids is None else thing_ids
        if image_config is not None:
            config, note = image_config, "the image configuration that was given"
        if size is not None:
            config, note = parse_size(size, config), f"size {size}, as asked"
        self.image_config, self.image_config_note = config, note
        self.labels = self.model.config.id2label
        known = known_classes(list(self.labels.values()), dataset)
        if thing_ids is None and known is not None:
            thing_ids = [class_id for class_id, entry in enumerate(known) if entry.is_thing]
        self.thing_ids = None if thing_ids is None else frozenset(thing_ids)
        self.category_ids = None if known is None else {n: entry.category_id for n, entry in enumerate(known)}
        self.task = task or trained_for or "semantic"
        # The original project makes the maps of networks for semantic segmentation alone in this order.
        self._resize_scores = trained_for == "semantic"
        self._forward: Forward = compiled(self.model) if backends.compilation_is_fast() else self.model
        if expect := _EXPECT.get((trained_for or "", self.task)):
            warnings.warn(f"the weights are for {trained_for} segmentation: {expect}", stacklevel=2)

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, batch_size: int = 1, thresholds: Thresholds | None = None
    ) -> list[Segmentation]: ...

    @overload
    def __call__(
        self, images: ImageLike, *, batch_size: int = 1, thresholds: Thresholds | None = None
    ) -> Segmentation: ...

    def __call__(
        self, images: Any, *, batch_size: int = 1, thresholds: Thresholds | None = None
    ) -> Segmentation | list[Segmentation]:
        """Segment an image, or a list of them.

        Args:
            images: whatever `read_image` takes, or a list or tuple of that.
            batch_size: images of the same size that run together.
            thresholds: what counts as found.

        Returns:
            The result for one image; a list for a list.

        Raises:
            InputError: if an image cannot be read.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images, batch_size=batch_size, thresholds=thresholds))
        (result,) = self.stream([images], batch_size=batch_size, thresholds=thresholds)
        return result

    def stream(
        self,
        images: Iterable[Any],
        *,
        batch_size: int = 1,
        thresholds: Thresholds | None = None,
        progress: bool = False,
    ) -> Iterator[Segmentation]:
        """Segment any number of images, in order; of those that are at hand the next batch is read meanwhile.

        Args:
            images: what `read_image` takes, one after the other.
            batch_size: images that are read together; those of the same size among them run together.
            thresholds: what counts as found.
            progress: show a progress bar, if standard error is a terminal.

        Returns:
            The results, each computed when it is asked for.

        Raises:
            InputError: if an image cannot be read, or a value has a wrong type or is out of range.
        """
        check_values(
            ("batch_size", batch_size, int, 1, MAX_BATCH_SIZE),
            ("thresholds", thresholds, Thresholds | None),
            ("progress", progress, bool),
        )
        single = isinstance(images, str | bytes | PathLike | np.ndarray | mx.array) or hasattr(images, "read")
        if single or not isinstance(images, Iterable):
            raise InputError(f"stream takes several images, got a {type(images).__name__}; put it into a list")
        return self._stream(images, batch_size, thresholds or Thresholds(), progress)

    def _stream(
        self, images: Iterable[Any], batch_size: int, thresholds: Thresholds, progress: bool
    ) -> Iterator[Segmentation]:
        total = len(images) if isinstance(images, Sized) else None
        waiting = iter(images)
        read = (
            (sources, [read_image(source) for source in sources])
            for sources in iter(lambda: list(islice(waiting, batch_size)), [])
        )
        if total is not None:  # else they may still have to happen, as a camera's do
            mx.eval([image for image in images if isinstance(image, mx.array)])  # by the thread that made them
            read = prefetch(read)
        with tqdm(total=total, unit="image", disable=None if progress else True) as bar, closing(read):
            for sources, photos in read:
                for result in self._segment(sources, photos, thresholds):
                    bar.update()
                    yield result

    def _segment(self, sources: list[Any], photos: list[np.ndarray], thresholds: Thresholds) -> list[Segmentation]:
        results: dict[int, Segmentation] = {}
        for size, count in Counter(self.image_config.input_size(*photo.shape[:2]) for photo in photos).items():
            check_memory(self.model, *size, count)
        with _LOCK:
            for numbers, batch in batches(photos, self.image_config, len(photos)):
                outputs = self._forward(batch.pixels.transpose(0, 3, 1, 2))
                some, names = [photos[number] for number in numbers], [_name(sources[number]) for number in numbers]
                found = self._postprocess(outputs, batch, some, names, thresholds)
                results |= dict(zip(numbers, found, strict=True))
        return [results[number] for number in range(len(sources))]

    def _postprocess(
        self,
        outputs: Mapping[str, Any],
        batch: ImageBatch,
        photos: list[np.ndarray],
        names: list[str | None],
        thresholds: Thresholds,
    ) -> list[Segmentation]:
        """Turn the network's outputs into results at the photos' own sizes."""
        sizes: dict[str, Any] = {
            "input_size": (batch.pixels.shape[1], batch.pixels.shape[2]),
            "target_sizes": [photo.shape[:2] for photo in photos],
            "content_sizes": batch.content_sizes,
        }
        images = list(zip(photos, names, strict=True))
        if self.task == "semantic":
            maps = semantic_segmentation(outputs, resize_scores=self._resize_scores, **sizes)
            return [
                Segmentation.from_semantic(photo, np.array(classes), self.labels, name)
                for (photo, name), classes in zip(images, maps, strict=True)
            ]
        if self.task == "panoptic":
            found = panoptic_segmentation(
                outputs,
                thing_ids=self.labels if self.thing_ids is None else self.thing_ids,
                threshold=thresholds.score_threshold("panoptic"),
                mask_threshold=thresholds.mask_threshold,
                overlap_mask_area_threshold=thresholds.overlap_mask_area_threshold,
                **sizes,
            )
            return [
                Segmentation.from_panoptic(photo, panoptic, self.labels, name)
                for (photo, name), panoptic in zip(images, found, strict=True)
            ]
        instances = instance_segmentation(outputs, thing_ids=self.thing_ids, top_k=thresholds.top_k, **sizes)
        return [
            Segmentation.from_instances(photo, objects, thresholds.score_threshold("instance"), self.labels, name)
            for (photo, name), objects in zip(images, instances, strict=True)
        ]


def check_memory(model: Mask2Former, height: int, width: int, batch: int) -> None:
    """Check that the maps of a forward fit into memory, before they are made.

    Args:
        model: the network.
        height: of its input, in pixels.
        width: of its input, in pixels.
        batch: images that run together.

    Raises:
        InputError: if even a low estimate, 50 to 98 % of what was measured, is more than the machine has.
    """
    config = model.config
    backbone = config.backbone_config or {}
    # At a quarter of the input's sides: the maps of the backbone's first stage, the mask features, the masks.
    channels = 16 * (backbone.get("embed_dim") or backbone.get("embedding_size") or 64)
    channels += 4 * config.mask_feature_size + 2 * config.num_queries
    needed, there = batch * height * width // 16 * channels * model.dtype.size, backends.memory_size()
    if needed > there:
        raise InputError(
            f"a forward at {width}x{height} pixels{f', {batch} at a time,' if batch > 1 else ''} takes more than "
            f"{needed / 1e9:.0f} GB of memory, and there are {there / 1e9:.0f}; give a smaller size, such as 1024"
            f"{', or a smaller batch size' if batch > 1 else ''}"
        )


def compiled(model: Mask2Former) -> Forward:
    """Return the model's forward, compiled when a shape is first seen; inference alone.

    MLX keeps what it has compiled forever; here the shape that was not used for longest is forgotten beyond
    `COMPILED_SHAPES`. New weights in the model are seen.

    Args:
        model: in inference mode.

    Returns:
        A function of (B, num_channels, H, W) that returns `class_queries_logits` and `masks_queries_logits`.
    """
    names = ("class_queries_logits", "masks_queries_logits")

    @lru_cache(maxsize=COMPILED_SHAPES)
    def for_shape(shape: tuple[int, ...]) -> Forward:
        def forward(pixels: mx.array) -> dict[str, mx.array]:
            outputs = model(pixels)
            return {name: outputs[name] for name in names}

        run: Forward = mx.compile(forward, inputs=model.state)
        return run

    return lambda pixels: for_shape(pixels.shape)(pixels)


def _name(source: Any) -> str | None:
    """Return how to call an image: a path or an address has a name, pixels have none."""
    if isinstance(source, str | PathLike):
        return os.fsdecode(source)
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return name if isinstance(name, str) and name else None

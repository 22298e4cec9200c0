"""transformers' pipeline for image segmentation: its arguments, and what it returns."""

import base64
import binascii
import difflib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from PIL import Image

from lucid_mlx import backends
from lucid_mlx.errors import InputError
from lucid_mlx.inference import Inference, check_memory
from lucid_mlx.loading import build_model, default_image_config, load_checkpoint
from lucid_mlx.models import Mask2Former
from lucid_mlx.postprocessing import huggingface
from lucid_mlx.preprocessing import ImageConfig, batches, read_image
from lucid_mlx.utils.files import local_path, read_json
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, check_choice, check_value, check_values
from lucid_mlx.weights.checkpoint import PREPROCESSOR_FILE
from lucid_mlx.weights.registry import WeightsLike

TASK = "image-segmentation"
SUBTASKS = ("semantic", "instance", "panoptic")

Annotation = dict[str, Any]
"""`score`, a float or None; `label`, a name; `mask`, a Pillow image of mode L, 255 at the pixels of the segment."""


class Options(NamedTuple):
    """What counts as found; as the arguments of `pipeline`."""

    subtask: str | None = None
    threshold: float = 0.9
    mask_threshold: float = 0.5
    overlap_mask_area_threshold: float = 0.5


def pipeline(
    task: str | None = None,
    model: WeightsLike | Mask2Former | None = None,
    *,
    image_processor: Any = None,
    device: Any = None,
    dtype: Any = None,
    batch_size: int = 1,
    **options: Any,
) -> "ImageSegmentationPipeline":
    """Load a model for image segmentation, as `transformers.pipeline` does.

    Args:
        task: "image-segmentation".
        model: anything that `lucid_mlx.load` takes, or a model.
        image_processor: how images are prepared, in place of what the checkpoint says: an `ImageConfig`, the contents
            of a `preprocessor_config.json`, a folder with one, or an image processor of transformers.
        device: ignored, with a warning: MLX computes on its default device.
        dtype: floating-point type to compute in, such as "float16", which is faster on a GPU; "auto" for that of the
            checkpoint's weights; None for float32.
        batch_size: images with inputs of one size that run together.
        **options: `subtask`, `threshold`, `mask_threshold` and `overlap_mask_area_threshold`, for calls that give none.

    Returns:
        What to call with images.

    Raises:
        InputError: for another task, or if the weights cannot be had, or a value does not fit.
    """
    if task is not None and task != TASK:
        raise InputError(f"the task must be {TASK!r}, got {shown(task)}; {TASK!r} does all three with subtask=")
    if model is None:
        raise InputError(
            "name a model, such as model='facebook/mask2former-swin-tiny-coco-panoptic', or model='demo', which needs "
            "no network"
        )
    if device is not None:
        warnings.warn("device is ignored: MLX computes on its default device", stacklevel=2)
    if isinstance(model, Mask2Former):
        if dtype is not None:
            raise InputError("dtype goes with the name of a model; set a model's own with model.set_dtype")
        network, config = model, ImageConfig()
        network.eval()
    else:
        checkpoint = load_checkpoint(model)
        network = build_model(checkpoint, _dtype(dtype))
        own = checkpoint.preprocessor
        config = ImageConfig.from_dict(own) if own else default_image_config(checkpoint)[0]
    if image_processor is not None:
        config = _image_config(image_processor)
    return ImageSegmentationPipeline(network, config, batch_size, **options)


class ImageSegmentationPipeline:
    """Segments images as transformers' pipeline of this name does, its default thresholds included.

    Args:
        model: in inference mode.
        image_config: how images are prepared; like transformers it never pads them to the divisor.
        batch_size: images with inputs of one size that run together.
        **options: as `pipeline` takes them.

    Attributes:
        task: "image-segmentation".
        model: the network.
        image_config: how images are prepared.

    Raises:
        InputError: if a value does not fit.
    """

    task = TASK

    def __init__(self, model: Mask2Former, image_config: ImageConfig, batch_size: int = 1, **options: Any):
        backends.check_not_forked()
        check_value("batch_size", batch_size, int, 1, MAX_BATCH_SIZE)
        mx.eval(model.parameters())
        self.model, self.image_config = model, replace(image_config, divisor_mode="resize")
        self._inference, self._batch_size = Inference(model), batch_size
        self._options = _checked(Options(), options)

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """Segment an image, a list, or what yields images.

        Args:
            inputs: a path, an address (`https:`, `data:`), a text in base64, a Pillow image, or else what `read_image`
                takes; or a list of them, or a generator or dataset.
            **options: as `pipeline` takes them; `images` instead of `inputs`; `batch_size`.

        Returns:
            A list of dictionaries with `score`, `label` and `mask` for an image: of each segment, or for semantic
            segmentation of each class that occurs, with None for its score. A list of such lists for a list; an
            iterator of them, which reads and computes when it is asked, for a generator or dataset.

        Raises:
            InputError: if an image cannot be read, or a value does not fit.
        """
        inputs = options.pop("images", inputs)
        if inputs is None:
            raise InputError("the pipeline takes an image, a list of images, or a generator")
        batch_size = options.pop("batch_size", self._batch_size)
        check_value("batch_size", batch_size, int, 1, MAX_BATCH_SIZE)
        chosen = _checked(self._options, options)
        if isinstance(inputs, list | tuple):
            return list(self._stream(inputs, batch_size, chosen))
        if _is_stream(inputs):
            return self._stream(inputs, batch_size, chosen)
        return next(self._stream([inputs], 1, chosen))

    def __repr__(self) -> str:
        return f"<ImageSegmentationPipeline: {self.model.config.num_labels} classes, {self.model.dtype}>"

    def _stream(self, inputs: Iterable[Any], batch_size: int, options: Options) -> Iterator[list[Annotation]]:
        numbered = enumerate(inputs)
        while chunk := list(islice(numbered, batch_size)):
            yield from self._segment([_read(number, source) for number, source in chunk], options)

    def _segment(self, images: list[np.ndarray], options: Options) -> list[list[Annotation]]:
        results: dict[int, list[Annotation]] = {}
        for numbers, batch in batches(images, self.image_config, len(images)):
            check_memory(self.model, batch.pixels.shape[1], batch.pixels.shape[2], len(numbers))
            outputs = self._inference.start(batch.pixels).logits()
            sizes = [images[number].shape[:2] for number in numbers]
            found = backends.WORKER.run(self._annotate, outputs, sizes, options)
            results |= dict(zip(numbers, found, strict=True))
        return [results[number] for number in range(len(images))]

    def _annotate(self, outputs: Mapping[str, Any], sizes: list[Any], options: Options) -> list[list[Annotation]]:
        labels = self.model.config.id2label
        if options.subtask == "semantic":
            maps = map(np.array, huggingface.post_process_semantic_segmentation(outputs, sizes))
            return [
                [_annotation(None, labels[n], classes == n) for n in np.unique(classes).tolist()] for classes in maps
            ]
        # Without a subtask transformers takes the panoptic one, whatever the network was trained for.
        is_instance = options.subtask == "instance"
        post_process = (
            huggingface.post_process_instance_segmentation
            if is_instance
            else huggingface.post_process_panoptic_segmentation
        )
        thresholds = options._asdict()
        del thresholds["subtask"]
        annotations = []
        for result in post_process(outputs, target_sizes=sizes, **thresholds):
            ids = np.array(result["segmentation"])
            annotations.append(
                [
                    _annotation(segment["score"], labels[segment["label_id"]], ids == segment["id"])
                    for segment in result["segments_info"]
                ]
            )
        return annotations


def _annotation(score: float | None, label: str, mask: np.ndarray) -> Annotation:
    return {"score": score, "label": label, "mask": Image.fromarray(mask.astype(np.uint8) * 255)}


def _checked(defaults: Options, options: dict[str, Any]) -> Options:
    for name in options:
        if name not in Options._fields:
            near = difflib.get_close_matches(name[:100], Options._fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(Options._fields)}, batch_size"
            raise InputError(f"the pipeline has no argument {shown(name)}; {hint}")
    chosen = defaults._replace(**options)
    if chosen.subtask is not None:
        check_choice("subtask", chosen.subtask, SUBTASKS)
    check_values(*((name, getattr(chosen, name), float, 0, 1) for name in Options._fields[1:]))
    return chosen


def _is_stream(inputs: Any) -> bool:
    """Return whether inputs are several images that are read one by one, such as a generator or a dataset."""
    if isinstance(inputs, str | bytes | os.PathLike | Image.Image | np.ndarray | mx.array) or hasattr(inputs, "read"):
        return False
    return isinstance(inputs, Iterator) or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def _read(number: int, source: Any) -> np.ndarray:
    """Read an image; a text that is neither an address nor a file may be one in base64, as in transformers."""
    try:
        return read_image(_decoded(source) if isinstance(source, str) else source)
    except InputError as error:
        raise InputError(f"image {number}: {error}") from error


def _decoded(source: str) -> Any:
    if len(source) < 64 or not re.fullmatch(r"[A-Za-z0-9+/\s]+={0,2}\s*", source) or local_path(source[:200]).exists():
        return source
    try:
        return base64.b64decode(source)
    except binascii.Error:
        return source


def _dtype(dtype: Any) -> Any:
    """Return a dtype as `build_model` takes it; torch's are known by their names."""
    if dtype is None:
        return mx.float32
    if isinstance(dtype, str) and dtype == "auto":
        return None
    return str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype


def _image_config(processor: Any) -> ImageConfig:
    """Read how images are prepared from what a user may have for it."""
    if isinstance(processor, ImageConfig):
        return processor
    if isinstance(processor, str | os.PathLike):
        path = local_path(processor)
        return ImageConfig.from_dict(read_json(path / PREPROCESSOR_FILE if path.is_dir() else path))
    raw = processor if isinstance(processor, Mapping) else getattr(processor, "to_dict", lambda: None)()
    if raw is None:
        raise InputError(f"image_processor must be an ImageConfig or an image processor, got {shown(processor)}")
    return ImageConfig.from_dict(raw)

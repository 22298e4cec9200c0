"""Test-time augmentation for semantic segmentation: several sizes of an image, and their mirror images.

As the original project's `SemanticSegmentorWithTTA` and detectron2's `DatasetMapperTTA`: the image that the network
would see is resized again to each size, and the scores of the classes are averaged at the size of the photo.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.inference import Logits, check_memory, in_background
from lucid_mlx.postprocessing.inputs import ImageSizes, Size, extract_logits
from lucid_mlx.postprocessing.semantic import View, averaged_map
from lucid_mlx.preprocessing import ImageConfig, preprocess
from lucid_mlx.preprocessing.preprocess import prefetch
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.text import shown

MIN_SCALE, MAX_SCALE, MAX_SCALES = 0.1, 4.0, 32


def check_augmentation(task: str, scales: Sequence[float], flip: bool) -> bool:
    """Check a test-time augmentation.

    Args:
        task: of the network.
        scales: factors of the size at which the network sees an image.
        flip: whether it sees mirror images too.

    Returns:
        Whether it changes anything.

    Raises:
        InputError: if a scale is no number that fits, or the task has no test-time augmentation.
    """
    numbers = isinstance(scales, Sequence) and all(
        isinstance(scale, int | float) and not isinstance(scale, bool) for scale in scales
    )
    fit = numbers and all(MIN_SCALE <= scale <= MAX_SCALE for scale in scales)
    if not fit or len(set(scales)) != len(scales) or not 1 <= len(scales) <= MAX_SCALES:
        raise InputError(
            f"scales must be 1 to {MAX_SCALES} different factors from {MIN_SCALE} to {MAX_SCALE:g} of the size at "
            f"which the network sees an image, such as 0.5, 0.75, 1, 1.25, 1.5, 1.75; got {shown(scales)}"
        )
    used = flip or list(scales) != [1]
    if used and task != "semantic":
        raise InputError(
            f"several scales and flipping are for semantic segmentation, and this is {task} segmentation: the scores "
            "of pixels can be averaged, objects cannot, and the original project has it for no other task; "
            "leave them out, or choose the task semantic (`--task semantic`)"
        )
    return used


def augmented(
    segmenter: Segmenter, photos: Iterable[np.ndarray], scales: Sequence[float], flip: bool, batch_size: int = 1
) -> Iterator[Segmentation]:
    """Segment photos with test-time augmentation.

    Args:
        segmenter: for semantic segmentation.
        photos: (H, W, 3) uint8 each, RGB.
        scales: factors of the size at which the network sees an image. The limit of the longer side, if there is one,
            is that of the largest scale for all, as in the original project.
        flip: whether it sees each mirrored too, left for right.
        batch_size: views of a photo that run together: at most two, an image and its mirror image.

    Yields:
        The results, in the order of the photos.
    """
    config = segmenter.image_config
    plain = replace(config, size=None, shortest_edge=None, longest_edge=None, pad_size=None)  # a view has its size
    with closing(prefetch(photos)) as read:
        for photo in read:
            seen = _resized(photo, config.content_size(*photo.shape[:2]), config)
            started = []
            for size in (_view_size(config, scale, max(scales), seen.shape) for scale in scales):
                view = _resized(seen, size, config)
                views = [(view, False), (view[:, ::-1], True)][: 1 + flip]
                sizes = ImageSizes(plain.input_size(*size), size, photo.shape[:2])
                check_memory(segmenter.model, *sizes.input_size, min(batch_size, len(views)))
                for first in range(0, len(views), batch_size):
                    images, mirrored = zip(*views[first : first + batch_size], strict=True)
                    running = segmenter.inference.start(preprocess(images, plain).pixels)
                    started.append((running, sizes, mirrored))
            try:
                outputs = [(running.logits(), sizes, mirrored) for running, sizes, mirrored in started]
            finally:
                for running, *_ in started:
                    running.cancel()  # those that an error has left
            class_map = in_background(_class_map, outputs, segmenter.resize_scores)
            yield Segmentation.from_semantic(photo, class_map, segmenter.labels)


def _class_map(outputs: Sequence[tuple[Logits, ImageSizes, Sequence[bool]]], resize_scores: bool) -> np.ndarray:
    views = [
        View(class_logits, mask_logits, sizes, is_mirrored)
        for logits, sizes, mirrored in outputs
        for class_logits, mask_logits, is_mirrored in zip(*extract_logits(logits), mirrored, strict=True)
    ]
    return averaged_map(views, resize_scores)


def _view_size(config: ImageConfig, scale: float, largest: float, seen: Sequence[int]) -> Size:
    """Return the (height, width) of a view of an image whose shape the network sees."""

    def scaled(side: int, factor: float = scale) -> int:
        return max(round(side * factor), 1)

    size, shortest, longest = config.size, config.shortest_edge, config.longest_edge
    if size is None and shortest is None:
        return config.content_size(scaled(seen[0]), scaled(seen[1]))
    config = replace(
        config,
        size=None if size is None else (scaled(size[0]), scaled(size[1])),
        shortest_edge=None if shortest is None else scaled(shortest),
        longest_edge=None if longest is None else scaled(longest, largest),
    )
    return config.content_size(seen[0], seen[1])


def _resized(image: np.ndarray, size: Size, config: ImageConfig) -> np.ndarray:
    """Resize an image as preprocessing does, to (height, width)."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling(config.resample)))

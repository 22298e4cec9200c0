"""From pixels to what the network reads, one image or many."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing.image_config import ImageConfig, Size

WAITING = 4  # batches of resized images that `batches` keeps at most while it looks for others of their size


class ImageBatch(NamedTuple):
    """What the network reads.

    Attributes:
        pixels: (B, H, W, 3) float32, normalized.
        content_sizes: of each image, the height and width of the top left part of the input that shows it; the rest is
            zeros.
    """

    pixels: mx.array
    content_sizes: tuple[Size, ...]


def preprocess(images: np.ndarray | Sequence[np.ndarray], image_config: ImageConfig) -> ImageBatch:
    """Resize, normalize and pad an image, or several that come to one size; `batches` takes any.

    Args:
        images: (H, W, 3) uint8, RGB, such as `read_image` returns.
        image_config: how.

    Raises:
        InputError: if there are no images, they are no such arrays, or would need inputs of several sizes: to pad
            some further would change what the network makes of them.
    """
    several = [images] if isinstance(images, np.ndarray) and images.ndim == 3 else images
    prepared = [_resize(image, image_config) for image in several]
    sizes = sorted({size for size, _ in prepared})
    if len(sizes) != 1:
        listed = ", ".join(f"{height}x{width}" for height, width in sizes) or "none"
        raise InputError(f"the images of a batch must come to one input size, got {listed}; use batches()")
    return _batch([resized for _, resized in prepared], sizes[0], image_config)


def batches(
    images: Iterable[np.ndarray], image_config: ImageConfig, batch_size: int
) -> Iterator[tuple[list[int], ImageBatch]]:
    """Put images of any sizes into batches that give each the result that it has alone.

    Only images with inputs of one size go together, so batches do not come in the order of the images. Images are
    taken from the iterable one by one, and few are kept.

    Args:
        images: as for `preprocess`.
        image_config: how.
        batch_size: the most images in a batch.

    Yields:
        The places of a batch's images, counted from 0, and the batch; every image once.

    Raises:
        InputError: if an image is no such array, or the batch size is below 1.
    """
    if batch_size < 1:
        raise InputError(f"a batch has at least 1 image, got {batch_size}")
    waiting: dict[Size, list[tuple[int, np.ndarray]]] = {}
    for place, image in enumerate(images):
        size, resized = _resize(image, image_config)
        waiting.setdefault(size, []).append((place, resized))
        full = len(waiting[size]) == batch_size
        if full or sum(map(len, waiting.values())) == WAITING * batch_size:
            yield _take(waiting, size if full else max(waiting, key=lambda size: len(waiting[size])), image_config)
    for size in list(waiting):
        yield _take(waiting, size, image_config)


def _take(
    waiting: dict[Size, list[tuple[int, np.ndarray]]], size: Size, image_config: ImageConfig
) -> tuple[list[int], ImageBatch]:
    places, resized = zip(*waiting.pop(size), strict=True)
    return list(places), _batch(resized, size, image_config)


def _resize(image: np.ndarray, image_config: ImageConfig) -> tuple[Size, np.ndarray]:
    """Return the size of the input that an image needs, and the resized image."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} of {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"an image must be a uint8 array of (height, width, 3), got {got}; read_image makes one")
    if image.size == 0:
        raise InputError(f"an image must have pixels, got an array of {image.shape}")
    size = image_config.input_size(*image.shape[:2])
    height, width = image_config.content_size(*image.shape[:2])
    return size, np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling(image_config.resample)))


def _batch(resized: Sequence[np.ndarray], size: Size, image_config: ImageConfig) -> ImageBatch:
    mean, std = mx.array(image_config.mean), mx.array(image_config.std)
    rows = []
    for image in resized:
        pixels = (mx.array(image).astype(mx.float32) * image_config.scale - mean) / std
        rows.append(mx.pad(pixels, [(0, size[0] - image.shape[0]), (0, size[1] - image.shape[1]), (0, 0)]))
    return ImageBatch(mx.stack(rows), tuple((image.shape[0], image.shape[1]) for image in resized))

"""From uint8 pixels to the network's input: resize, normalize, pad and batch."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import NamedTuple, TypeVar

import mlx.core as mx
import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing.image_config import ImageConfig, Size
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, check_value, check_values

T = TypeVar("T")

MAX_PENDING_BATCHES = 4  # `batches` keeps at most so many batches of resized images while it collects images of a size


class ImageBatch(NamedTuple):
    """The network's input.

    Attributes:
        pixels: (B, H, W, 3) float32, normalized.
        content_sizes: for each image the (height, width) of the top left part of the input that shows it. The rest is
            padding, zeros.
    """

    pixels: mx.array
    content_sizes: tuple[Size, ...]


def preprocess(images: np.ndarray | Sequence[np.ndarray], image_config: ImageConfig) -> ImageBatch:
    """Resize, normalize and pad one image, or several images with inputs of the same size.

    Use `batches` for images of different sizes.

    Args:
        images: one or more arrays (H, W, 3) uint8, RGB, as `read_image` returns them.
        image_config: how to resize, normalize and pad.

    Returns:
        The batch: pixels (B, H, W, 3) float32, and the content sizes.

    Raises:
        InputError: if there is no image, an image is not such an array, or the images need inputs of different sizes.
            Padding them to a common size would change the network's results.
    """
    if not isinstance(images, Iterable) or getattr(images, "ndim", 1) == 0:
        raise InputError(f"images must be one or more arrays, got a {type(images).__name__}")
    check_value("image_config", image_config, ImageConfig)
    image_list = [images] if isinstance(images, np.ndarray) and images.ndim == 3 else images
    prepared = [_resize(image, image_config) for image in image_list]
    input_sizes = sorted({input_size for input_size, _ in prepared})
    if len(input_sizes) != 1:
        listed = ", ".join(f"{height}x{width}" for height, width in input_sizes) or "none"
        raise InputError(f"the images of a batch must have one input size, got {listed}; use batches()")
    return _batch([resized for _, resized in prepared], input_sizes[0], image_config)


def batches(
    images: Iterable[np.ndarray], image_config: ImageConfig, batch_size: int
) -> Iterator[tuple[list[int], ImageBatch]]:
    """Group images of any sizes into batches. Each image gets the same result as alone.

    A batch holds only images with inputs of the same size, so batches are not in the order of the images. Images are
    taken from the iterable one by one, and only a few are kept in memory.

    Args:
        images: arrays (H, W, 3) uint8, RGB, as `read_image` returns them.
        image_config: how to resize, normalize and pad.
        batch_size: maximum number of images in a batch.

    Yields:
        The indices of the batch's images, counted from 0, and the batch: pixels (B, H, W, 3) float32, and the content
        sizes. Every image is in exactly one batch.

    Raises:
        InputError: if an image is not such an array, or the batch size is below 1.
    """
    if not isinstance(images, Iterable) or getattr(images, "ndim", 1) == 0:
        raise InputError(f"images must be several arrays, got a {type(images).__name__}")
    check_values(("image_config", image_config, ImageConfig), ("batch_size", batch_size, int, 1, MAX_BATCH_SIZE))
    pending: dict[Size, list[tuple[int, np.ndarray]]] = {}  # by input size: indices and resized images
    for index, image in enumerate(images):
        input_size, resized = _resize(image, image_config)
        pending.setdefault(input_size, []).append((index, resized))
        if len(pending[input_size]) == batch_size:
            yield _pop_batch(pending, input_size, image_config)
        elif sum(map(len, pending.values())) == MAX_PENDING_BATCHES * batch_size:
            yield _pop_batch(pending, max(pending, key=lambda size: len(pending[size])), image_config)
    for input_size in list(pending):
        yield _pop_batch(pending, input_size, image_config)


def _pop_batch(
    pending: dict[Size, list[tuple[int, np.ndarray]]], input_size: Size, image_config: ImageConfig
) -> tuple[list[int], ImageBatch]:
    indices, resized = zip(*pending.pop(input_size), strict=True)
    return list(indices), _batch(resized, input_size, image_config)


def _resize(image: np.ndarray, image_config: ImageConfig) -> tuple[Size, np.ndarray]:
    """Return the input size for an image, and the resized image, (height, width, 3) uint8."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} of {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"an image must be a uint8 array of (height, width, 3), got {got}; read_image makes one")
    if image.size == 0:
        raise InputError(f"an image must have pixels, got an array of {image.shape}")
    input_size = image_config.input_size(*image.shape[:2])
    height, width = image_config.content_size(*image.shape[:2])
    resample = Image.Resampling(image_config.resample)
    return input_size, np.asarray(Image.fromarray(image).resize((width, height), resample))


def _batch(resized: Sequence[np.ndarray], input_size: Size, image_config: ImageConfig) -> ImageBatch:
    mean, std = np.array(image_config.mean, np.float32), np.array(image_config.std, np.float32)
    pixels = np.zeros((len(resized), *input_size, 3), np.float32)
    for place, image in zip(pixels, resized, strict=True):
        normalized = image * np.float32(image_config.rescale_factor)
        normalized -= mean
        normalized /= std
        place[: image.shape[0], : image.shape[1]] = normalized
    # Made in NumPy: an array that MLX has still to compute would belong to this thread.
    return ImageBatch(mx.array(pixels), tuple((image.shape[0], image.shape[1]) for image in resized))


def prefetch(items: Iterable[T]) -> Generator[T, None, None]:
    """Iterate over items, of which a thread makes one in advance.

    Args:
        items: to iterate over; an error that they raise is raised in the item's place.

    Yields:
        The items in order.
    """
    iterator = iter(items)

    def make(future: "Future[list[T]]") -> None:
        try:
            future.set_result(list(islice(iterator, 1)))
        except BaseException as error:
            future.set_exception(error)

    def start_next() -> "tuple[threading.Thread, Future[list[T]]]":
        # A pool's threads do not serve a thread that goes on after the main thread.
        future: Future[list[T]] = Future()
        thread = threading.Thread(target=make, args=(future,), name="lucid-mlx-prefetch", daemon=True)
        thread.start()
        return thread, future

    thread, future = start_next()
    try:
        while item := future.result():
            thread, future = start_next()
            yield item[0]
    finally:
        thread.join()


def one_ahead(items: Iterable[T], drop: Callable[[T], None]) -> Generator[T, None, None]:
    """Iterate over items, each after the next one was made.

    Args:
        items: to iterate over; an error that they raise comes after the items before it.
        drop: what to do about an item that was made, and is not wanted any more.

    Yields:
        The items in order.
    """
    waiting: list[T] = []
    try:
        for item in items:
            waiting.append(item)
            if len(waiting) > 1:
                yield waiting.pop(0)
    except Exception:
        while waiting:
            yield waiting.pop()
        raise
    else:
        while waiting:
            yield waiting.pop()
    finally:
        for item in waiting:
            drop(item)

"""Rare classes: images that come more often, and weights of classes in the loss."""

import difflib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.data.coco import CocoRecord
from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.errors import InputError
from lucid_mlx.training.config import TrainingConfig
from lucid_mlx.training.loader import Loader
from lucid_mlx.utils.text import examples, hide_bar, printable, shown

THREADS = 4


class ImageClasses(NamedTuple):
    """The classes of the segments of an image, those of crowds too.

    Attributes:
        class_ids: of each segment.
        crowd: whether it is a crowd, which is not learned.
    """

    class_ids: tuple[int, ...]
    crowd: tuple[bool, ...]


def balance(config: TrainingConfig, loader: Loader, log: Callable[[str], None], progress: bool) -> mx.array | None:
    """Make images with rare classes come more often, if a run shall, and return the weights of its classes.

    Args:
        config: of the run.
        loader: its loader, whose `repeat_factors` are set.
        log: called with each message for the user.
        progress: show a progress bar while labels are read.

    Returns:
        (num_labels,) float32, or None if all classes weigh the same.

    Raises:
        InputError: if labels cannot be read.
    """
    dataset = loader.dataset
    images: list[ImageClasses] = []
    if config.repeat_threshold or config.class_weights == "balanced":
        images = read_classes(dataset, progress)
    if config.repeat_threshold:
        factors = repeat_factors([image.class_ids for image in images], config.repeat_threshold)
        if factors.max() > 1:
            loader.repeat_factors = factors
            log(
                f"images with rare classes come up to {factors.max():.3g} times in an epoch, which has some "
                f"{round(factors.sum())} samples of {len(images)} images"
            )
        else:
            log(
                f"every class is in at least {config.repeat_threshold:.3g} of the images: all images come equally often"
            )
    if not config.class_weights:
        return None
    if isinstance(config.class_weights, Mapping):
        weights = [float(config.class_weights.get(name, 1.0)) for name in dataset.class_names]
    else:
        weights = balanced_weights(images, len(dataset.class_names))
    told = [f"{weight:.3g} {name}" for weight, name in zip(weights, dataset.class_names, strict=True)]
    log(printable(f"weights of classes in the loss: {', '.join(told)}"))
    return mx.array(weights, mx.float32)


def read_classes(dataset: Dataset, progress: bool = False) -> list[ImageClasses]:
    """Read the classes of all images. Those of COCO's files are known already; else all labels are read.

    Args:
        dataset: labeled images.
        progress: show a progress bar, if standard error is a terminal.

    Returns:
        The classes of each image.

    Raises:
        InputError: if labels cannot be read.
    """
    pool = ThreadPoolExecutor(THREADS)
    try:
        found = pool.map(_classes, dataset.records)
        return list(tqdm(found, "classes", len(dataset.records), unit="image", disable=hide_bar(progress)))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _classes(record: Record) -> ImageClasses:
    if isinstance(record, CocoRecord):
        return ImageClasses(tuple(x.class_id for x in record.annotations), tuple(x.crowd for x in record.annotations))
    target = record.target()
    return ImageClasses(tuple(target.class_ids.tolist()), tuple(target.crowd.tolist()))


def repeat_factors(images: Sequence[Collection[int]], threshold: float) -> np.ndarray:
    """Compute how often each image comes in an epoch, as detectron2's `RepeatFactorTrainingSampler`.

    A class c that a share f(c) of the images has gets max(1, sqrt(threshold / f(c))), and an image the most that one
    of its classes gets (LVIS, Gupta et al., CVPR 2019, appendix B.2 of its later versions).

    Args:
        images: the classes of each image, those of crowds too.
        threshold: the share of images below which a class is rare.

    Returns:
        (images,) float64, at least 1.
    """
    counts = Counter(class_id for class_ids in images for class_id in set(class_ids))
    factors = {class_id: max(1.0, math.sqrt(threshold * len(images) / count)) for class_id, count in counts.items()}
    return np.array([max((factors[class_id] for class_id in class_ids), default=1.0) for class_ids in images])


def balanced_weights(images: Sequence[ImageClasses], num_classes: int) -> list[float]:
    """Compute the weights of classes as scikit-learn's `compute_class_weight("balanced")` of all segments.

    A class with n(c) of the n segments gets n / (K n(c)), where K classes occur: all classes weigh the same together,
    and a segment weighs 1 in the mean. Crowds do not count. Classes that do not occur get 1.

    Args:
        images: the classes of each image.
        num_classes: of the dataset.

    Returns:
        The weight of each class.
    """
    counts = Counter(class_id for image in images for class_id, crowd in zip(*image, strict=True) if not crowd)
    total = sum(counts.values())
    return [total / (len(counts) * counts[n]) if n in counts else 1.0 for n in range(num_classes)]


def check_class_names(class_weights: Any, class_names: Sequence[str]) -> None:
    """Check that the classes exist that have weights.

    Args:
        class_weights: as of `TrainingConfig`.
        class_names: of the labels.

    Raises:
        InputError: if one does not exist.
    """
    names = class_weights if isinstance(class_weights, Mapping) else ()
    if unknown := [name for name in names if name not in class_names]:
        near = difflib.get_close_matches(unknown[0], class_names, n=1)
        hint = f"did you mean {shown(near[0])}?" if near else f"the classes are {examples(class_names, 50)}"
        raise InputError(f"class_weights has {shown(unknown[0])}, which is no class of the labels; {hint}")

"""Batches for training, prepared by other processes while the device computes."""

import math
import os
import signal
import threading
import warnings
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.training.augment import Augmentation, Sample

PREFETCHED_BATCHES = 2


class Batch(NamedTuple):
    """The input of a training step.

    Attributes:
        pixels: (B, H, W, 3) float32, normalized.
        masks: for each image, (N, H, W) bool.
        class_ids: for each image, (N,) int32.
        next_position: where the next batch starts: the epoch, and the sample in the epoch.
    """

    pixels: mx.array
    masks: list[mx.array]
    class_ids: list[mx.array]
    next_position: tuple[int, int]


def collate(samples: Iterable[Sample], image_config: ImageConfig, next_position: tuple[int, int]) -> Batch:
    """Make a batch of samples.

    Args:
        samples: samples of one size; each is released before the next one is taken, as masks take much memory.
        image_config: how pixels are normalized.
        next_position: where the next batch starts: the epoch, and the sample in the epoch.

    Returns:
        The batch.
    """
    parts = [(sample.pixels, mx.array(sample.masks), mx.array(sample.class_ids)) for sample in samples]
    pixels, masks, class_ids = map(list, zip(*parts, strict=True))
    normalized = mx.array(np.stack(pixels)).astype(mx.float32) * image_config.rescale_factor
    return Batch(
        (normalized - mx.array(image_config.mean)) / mx.array(image_config.std), masks, class_ids, next_position
    )


def with_objects(dataset: Dataset) -> Dataset:
    """Leave out images without objects, as the original project does for instances; a warning has their number.

    Args:
        dataset: the labeled images.

    Returns:
        The dataset; it is the same for other tasks.

    Raises:
        InputError: if no image has an object.
    """
    records = [record for record in dataset.records if getattr(record, "has_objects", True)]
    left_out = len(dataset.records) - len(records)
    if dataset.task != "instance" or not left_out:
        return dataset
    if not records:
        raise InputError(
            f"none of the {left_out} images has an object to learn: their annotations are empty, or crowds"
        )
    warnings.warn(
        f"{left_out} of {len(dataset.records)} images have no object to learn, and are left out of training, as in the "
        "original project; `filter_empty = false` keeps them",
        stacklevel=3,
    )
    return replace(dataset, records=records)


class _SampleTask(NamedTuple):
    """Everything that determines a sample."""

    record: Record
    augment: Augmentation
    seed: int
    epoch: int
    image_index: int
    repetition: int  # which one of an image in an epoch, from 0

    def run(self) -> Sample:
        """Make the sample. It depends on the dataset, the seed, the epoch, the image and the repetition only."""
        key = (self.epoch, self.image_index, self.repetition)[: 3 if self.repetition else 2]
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        try:
            return self.augment(self.record.image(), self.record.target(), rng)
        except InputError:
            raise  # it names the file
        except Exception as error:
            raise RuntimeError(f"{self.record.name} cannot be prepared: {error!r}") from error

    def run_in_worker(self) -> tuple[Sample, tuple[int, ...]]:
        """Make the sample with its masks packed to bits and compressed, as many wait to be used; also their shape."""
        sample = self.run()
        packed = zlib.compress(np.packbits(sample.masks).data, level=1)
        return sample._replace(masks=np.frombuffer(packed, np.uint8)), sample.masks.shape


class Loader:
    """An endless stream of batches. It depends on the seed, and not on the number of workers.

    Each epoch has every image once, in a new random order; or as often as its repeat factor says, whose fraction is the
    probability of one time more. A batch may have the end of one epoch and the start of the next.

    With workers, a script must do its work under `if __name__ == "__main__":`, because workers are new processes that
    import it. (MLX does not survive a fork.)

    Args:
        dataset: the labeled images.
        augment: makes a sample of each image, all of one size.
        batch_size: images in a batch.
        image_config: how pixels are normalized: its `mean`, `std` and `rescale_factor`.
        seed: the seed of the order and of the augmentation.
        workers: processes that prepare samples; 0 to do it in this process, when a batch is requested.
        shard: (rank, size) of this process in a distributed run: of each batch it gets only every `size`-th sample,
            starting at `rank`.
        filter_empty: for instances, leave out images without objects.

    Attributes:
        repeat_factors: how often each image comes in an epoch in the mean, (images,); None for once.

    Raises:
        InputError: if the batch size is below 1 or not a multiple of the number of processes, or the number of workers
            or the seed is below 0; or no image has an object.
    """

    def __init__(
        self,
        dataset: Dataset,
        augment: Augmentation,
        *,
        batch_size: int,
        image_config: ImageConfig | None = None,
        seed: int = 0,
        workers: int = 0,
        shard: tuple[int, int] = (0, 1),
        filter_empty: bool = True,
    ):
        for name, value, minimum in (("batch_size", batch_size, 1), ("workers", workers, 0), ("seed", seed, 0)):
            if value < minimum:
                raise InputError(f"{name} must be at least {minimum}, got {value}")
        if batch_size % shard[1]:
            raise InputError(f"batch_size must be a multiple of the {shard[1]} processes, got {batch_size}")
        self.dataset = with_objects(dataset) if filter_empty else dataset
        self.augment, self.image_config = augment, image_config or ImageConfig()
        self.repeat_factors: np.ndarray | None = None
        self.batch_size, self.seed, self.workers, self.shard = batch_size, seed, workers, shard

    def batches(self, epoch: int = 0, sample_in_epoch: int = 0) -> Generator[Batch, None, None]:
        """Yield batches without end. Close the iterator (`contextlib.closing`) to stop the workers.

        A batch's `next_position` has the arguments with which the stream continues after it.

        Args:
            epoch: the epoch to start in.
            sample_in_epoch: the sample of that epoch to start with.

        Yields:
            The next batch, or this process's shard of it.

        Raises:
            InputError: if an image or its labels cannot be read; or a worker dies, which may be for lack of memory.
            RuntimeError: for any other error of a worker, with the name of the image.
        """
        rank, size = self.shard
        tasks = islice(self._tasks(epoch, sample_in_epoch), rank, None, size)
        per_batch, length = self.batch_size // size, self._length(epoch)
        sample_in_epoch = min(sample_in_epoch, length)  # a run that goes on may have fewer images now
        with closing(self._run_in_workers(tasks) if self.workers else (task.run() for task in tasks)) as samples:
            while True:
                sample_in_epoch += self.batch_size
                while sample_in_epoch >= length:
                    epoch, sample_in_epoch = epoch + 1, sample_in_epoch - length
                    length = self._length(epoch)
                yield collate(islice(samples, per_batch), self.image_config, (epoch, sample_in_epoch))

    def image_names(self, epoch: int, sample_in_epoch: int, batches: int = 1) -> list[str]:
        """Return the names of the images in the next batches, those of other processes too.

        Args:
            epoch: the epoch to start in.
            sample_in_epoch: the sample of that epoch to start with.
            batches: the number of batches.

        Returns:
            The names.
        """
        tasks = islice(self._tasks(epoch, sample_in_epoch), self.batch_size * batches)
        return [task.record.name for task in tasks]

    def _length(self, epoch: int) -> int:
        """Return how many samples an epoch has."""
        return len(self.dataset.records) if self.repeat_factors is None else len(self._order(epoch)[0])

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of an epoch in their order, (samples,), and of each which repetition it is."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
        images = np.arange(len(self.dataset.records))
        repeats = np.ones_like(images)
        if self.repeat_factors is not None:
            more, repeats = np.modf(self.repeat_factors)
            repeats = repeats.astype(np.int64) + (rng.random(len(images)) < more)
        order = rng.permutation(repeats.sum())
        first = np.repeat(repeats.cumsum() - repeats, repeats)
        return np.repeat(images, repeats)[order], (np.arange(len(order)) - first)[order]

    def _tasks(self, epoch: int, sample_in_epoch: int) -> Iterator[_SampleTask]:
        records = self.dataset.records
        while True:
            order = zip(*(part[sample_in_epoch:].tolist() for part in self._order(epoch)), strict=True)
            for index, repetition in order:
                yield _SampleTask(records[index], self.augment, self.seed, epoch, index, repetition)
            epoch, sample_in_epoch = epoch + 1, 0

    def _run_in_workers(self, tasks: Iterator[_SampleTask]) -> Generator[Sample, None, None]:
        pool = ProcessPoolExecutor(self.workers, get_context("spawn"), _init_worker)
        prefetched = PREFETCHED_BATCHES * self.batch_size + self.workers
        try:
            futures = deque(pool.submit(task.run_in_worker) for task in islice(tasks, prefetched))
            for task in tasks:
                sample, shape = futures.popleft().result()
                futures.append(pool.submit(task.run_in_worker))
                packed = np.frombuffer(zlib.decompress(sample.masks.data), np.uint8)
                masks = np.unpackbits(packed, count=math.prod(shape)).view(bool).reshape(shape)
                yield sample._replace(masks=masks)
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died: a script must do its work under "
                'if __name__ == "__main__":, and there must be enough memory; workers=0 needs no processes'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _init_worker() -> None:
    """Ignore Ctrl-C, as the parent stops its workers, and exit if the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

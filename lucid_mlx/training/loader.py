"""Batches for the training, prepared by other processes while the device is busy."""

import math
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.training.augment import Augmentation, Sample

READY = 2  # batches that are prepared ahead


class Batch(NamedTuple):
    """What a step of the training reads.

    Attributes:
        pixels: (B, H, W, 3) float32, normalized.
        masks: of each image, (N, H, W) bool.
        class_ids: of each image, (N,) int32.
        after: the epoch and the position in it at which the next batch begins.
    """

    pixels: mx.array
    masks: list[mx.array]
    class_ids: list[mx.array]
    after: tuple[int, int]


def stack(samples: list[Sample], image_config: ImageConfig, after: tuple[int, int]) -> Batch:
    """Put samples of one size into a batch, normalized by the image configuration."""
    pixels = mx.array(np.stack([sample.pixels for sample in samples])).astype(mx.float32)
    return Batch(
        (pixels * image_config.scale - mx.array(image_config.mean)) / mx.array(image_config.std),
        [mx.array(sample.masks) for sample in samples],
        [mx.array(sample.class_ids) for sample in samples],
        after,
    )


class _Job(NamedTuple):
    """All that a sample is made of."""

    record: Record
    augment: Augmentation
    seed: int
    epoch: int
    place: int

    def run(self) -> Sample:
        """Make the sample, a function of the dataset, the seed, the epoch and the place alone."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.epoch, self.place)))
        try:
            return self.augment(self.record.image(), self.record.target(), rng)
        except InputError:
            raise  # it names the file
        except Exception as error:
            raise RuntimeError(f"{self.record.name} cannot be prepared: {error!r}") from error

    def run_elsewhere(self) -> tuple[Sample, tuple[int, ...]]:
        """Make the sample, its masks as bits, which are an eighth to send to another process, and their shape."""
        sample = self.run()
        return sample._replace(masks=np.packbits(sample.masks)), sample.masks.shape


class Loader:
    """An endless stream of batches that depends on the seed alone, not on the number of workers.

    Each epoch shows every image once, in an order of its own. A batch may hold the end of one epoch and the beginning
    of the next.

    With workers, what uses a loader must be importable: a script does its work under `if __name__ == "__main__":`,
    because the processes are new ones. (MLX does not survive a fork.)

    Args:
        dataset: the labeled images.
        augment: makes a sample of each, all of one size.
        batch_size: images in a batch.
        image_config: how pixels are normalized; of it `mean`, `std` and `scale` count.
        seed: of orders and augmentations.
        workers: processes that prepare images; 0 to do it in this one, when a batch is asked for.
        part: which part of each batch to yield, from 0, and of how many: the share of a distributed run's process.

    Raises:
        InputError: for a batch size below 1, or that has no such parts, or a number of workers or a seed below 0.
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
        part: tuple[int, int] = (0, 1),
    ):
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("seed", seed, 0)):
            if value < least:
                raise InputError(f"{name} must be at least {least}, got {value}")
        if batch_size % part[1]:
            raise InputError(f"batch_size={batch_size} cannot be shared equally by {part[1]} processes")
        self.part = part
        self.dataset, self.augment, self.image_config = dataset, augment, image_config or ImageConfig()
        self.batch_size, self.seed, self.workers = batch_size, seed, workers

    def batches(self, epoch: int = 0, position: int = 0) -> Generator[Batch, None, None]:
        """Yield batches without end; close the iterator (`contextlib.closing`) to end the workers.

        Args:
            epoch: where to begin: the first of a batch's `after`,
            position: and the second.

        Raises:
            InputError: if an image or its labels cannot be read; or a worker dies, which may be for want of memory.
            RuntimeError: for any other error of a worker, with the image's name.
        """
        first, parts = self.part
        jobs = islice(self._jobs(epoch, position), first, None, parts)
        count = len(self.dataset.records)
        with closing(self._by_workers(jobs) if self.workers else (job.run() for job in jobs)) as samples:
            while True:
                batch = list(islice(samples, self.batch_size // parts))
                epoch, position = divmod(epoch * count + position + self.batch_size, count)
                yield stack(batch, self.image_config, (epoch, position))

    def names(self, epoch: int, position: int, batches: int = 1) -> list[str]:
        """Return what the images of whole batches are called; arguments as of `batches`."""
        return [job.record.name for job in islice(self._jobs(epoch, position), self.batch_size * batches)]

    def _jobs(self, epoch: int, position: int) -> Iterator[_Job]:
        records = self.dataset.records
        while True:
            order = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
            for place in order.permutation(len(records))[position:].tolist():
                yield _Job(records[place], self.augment, self.seed, epoch, place)
            epoch, position = epoch + 1, 0

    def _by_workers(self, jobs: Iterator[_Job]) -> Generator[Sample, None, None]:
        pool = ProcessPoolExecutor(self.workers, get_context("spawn"), _start)
        try:
            waiting = deque(
                pool.submit(job.run_elsewhere) for job in islice(jobs, READY * self.batch_size + self.workers)
            )
            for job in jobs:
                sample, shape = waiting.popleft().result()
                waiting.append(pool.submit(job.run_elsewhere))
                yield sample._replace(
                    masks=np.unpackbits(sample.masks, count=math.prod(shape)).view(bool).reshape(shape)
                )
        except BrokenProcessPool as error:
            raise InputError(
                "a process that prepares images has died: a script must do its work under "
                'if __name__ == "__main__":, and memory must suffice; workers=0 does without processes'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Leave Ctrl-C to the parent, which ends its workers, and end if the parent is gone without having done so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""Check a dataset before training, and report all problems in one error."""

import math
import os
import re
import sys
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Condition
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import read_header
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import echo, examples, shown
from lucid_mlx.utils.validation import check_value

MAX_LISTED = 20  # problems that an error lists; the others are counted
MAX_OF_A_KIND = 3  # of these, if they differ in names and numbers alone
MAX_THREADS = 4
MAX_BYTES = 256 << 20  # of images and labels that are read at one time
BYTES_PER_PIXEL = 16  # of an image and its labels, as they are decoded
DARK = 32  # of 255: an image without a brighter value looks black
MAX_UNKNOWN = 0.5  # share of an image's pixels that may have no class
SECONDS_PER_LINE = 60


class Problems:
    """Collects the problems of a file or a dataset, to raise them as one error.

    Args:
        name: the file or the dataset, for the message.
    """

    def __init__(self, name: str):
        self._name = name
        self._listed: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        """Add a problem."""
        self._count += 1
        if self._count <= MAX_LISTED:
            self._listed.append(problem)

    def raise_if_any(self) -> None:
        """Raise an error that lists the problems.

        Raises:
            InputError: if there are any.
        """
        if self._count:
            rest = [f"and {self._count - MAX_LISTED} more"] if self._count > MAX_LISTED else []
            count = "1 problem" if self._count == 1 else f"{self._count} problems"
            raise InputError(f"{self._name}: {count}", *self._listed, *rest)


def validate(dataset: Dataset, progress: bool = False) -> None:
    """Read all images and labels of a dataset, and check them; few images are in memory at a time.

    This finds damaged files, images whose size differs from that of their labels, labels and segments that the dataset
    does not define, and labels from which nothing can be learned. It stops after the first problems. Classes that never
    occur, masks without pixels, and images of which most pixels have no class are told in warnings. Opening a dataset
    already finds what needs no pixels: missing files, unknown categories, invalid polygons.

    Args:
        dataset: what to check.
        progress: show a progress bar, if standard error is a terminal, or else a line every minute.

    Raises:
        InputError: if anything is wrong; it names the files and annotations of the first problems.
    """
    check_value("dataset", dataset, Dataset)
    total = len(dataset.records)
    seen = _Seen(dataset)
    problems: list[str] = []
    bad = 0
    with closing(_check_all(dataset)) as found:
        for number, checked in enumerate(_with_progress(found, total) if progress else found, 1):
            problems += checked.problems
            bad += bool(checked.problems)
            seen.add(dataset.records[number - 1], checked)
            if len(problems) >= MAX_LISTED:
                break
    if problems:
        looked_at = "" if number == total else f"first {number} of {total} "
        _raise(f"the {looked_at}labeled images", problems, are_all=bad == total)
    seen.conclude()


def _raise(name: str, problems: list[str], are_all: bool) -> None:
    """Raise an error with the first problems of each kind: those that differ in names and numbers alone."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        kinds[re.sub(r"\S*/\S*|\d+", "", problem)].append(problem)
    lines: list[str] = []
    for found in kinds.values():
        lines += found[:MAX_OF_A_KIND]
        lines += [f"and {len(found) - MAX_OF_A_KIND} more like this"] if len(found) > MAX_OF_A_KIND else []
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    if not are_all:
        lines.append(
            "`split`, a list of the other images, leaves these out; `check = false` begins, and stops at the first of "
            "them"
        )
    raise InputError(f"{name}: {count}", *lines)


class _Checked(NamedTuple):
    """What is known of an image after it was read."""

    problems: list[str]
    class_ids: frozenset[int] = frozenset()
    left_out: tuple[tuple[str, int | str], ...] = ()  # why, and the id
    unknown_share: float = 0.0  # of the pixels
    is_dark: bool = False


class _Seen:
    """What the labels of a dataset hold, and what they lack."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        self._class_ids: set[int] = set()
        self._notices = Notices("the labels")

    def add(self, record: Record, checked: _Checked) -> None:
        """Add an image."""
        self._class_ids |= checked.class_ids
        for reason, id_ in checked.left_out:
            self._notices.add("mask", f"left out: {reason}", f"{id_} of {record.name}")
        if checked.is_dark:
            self._notices.add("image", f"almost black: no value is above {DARK} of 255 (16 bits: 65535)", record.name)
        if checked.unknown_share > MAX_UNKNOWN and self._dataset.task != "instance":
            self._notices.add("image", f"without a class for more than {MAX_UNKNOWN:.0%} of the pixels", record.name)

    def conclude(self) -> None:
        """Stop if nothing can be learned; warn of what is odd."""
        task, names = self._dataset.task, self._dataset.class_names
        count = len(self._dataset.records)
        if not self._class_ids:
            hint = {
                "semantic": "all pixels are ignored: `ignore_index`, `reduce_zero_label` and `merge` say which are",
                "instance": "there are no objects but crowds: `crowd_as_objects` takes those as objects",
            }.get(task, "there are no segments but crowds: `crowd_as_objects` takes those as objects")
            raise InputError(f"nothing is left to learn from the labels of {count} images: {hint}")
        if task == "semantic" and len(self._class_ids) == 1:
            (only,) = self._class_ids
            raise InputError(
                f"the labels of {count} images have one class alone, {shown(names[only])}: nothing tells where it is "
                "not. Label maps need a class for the rest, such as background; `names` has the name of every label, "
                "and `ignore_index` is the label of pixels that do not count. (`check = false` trains all the same)"
            )
        if never := [name for index, name in enumerate(names) if index not in self._class_ids]:
            warnings.warn(
                f"{len(never)} of {len(names)} classes never occur in the labels: {examples(never)}", stacklevel=3
            )
        self._notices.warn(3)


class _Budget:
    """Bytes that threads share; a thread that needs more than there are has them when no other runs."""

    def __init__(self, size: int):
        self._size, self._used, self._changed = size, 0, Condition()
        self.is_over = False  # no thread should begin

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + size <= self._size)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


def _check_all(dataset: Dataset) -> Generator[_Checked, None, None]:
    """Check the records in order, a few ahead. This thread takes its share: its memory serves again in training."""
    budget, count = _Budget(MAX_BYTES), len(dataset.class_names)
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    pending: deque[Future[_Checked]] = deque()
    pool = ThreadPoolExecutor(max(threads - 1, 1))
    try:
        for index, record in enumerate(dataset.records):
            if index % threads == threads - 1:
                pending.append(Future())
                pending[-1].set_result(_check(record, count, budget))
            else:
                pending.append(pool.submit(_check, record, count, budget))
            if len(pending) > 4 * MAX_THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # Ctrl-C need not wait for the images ahead
        budget.is_over = True
        pool.shutdown(wait=False, cancel_futures=True)


def _check(record: Record, num_classes: int, budget: _Budget) -> _Checked:
    path = getattr(record, "path", None)
    header = read_header(path) if isinstance(path, Path) else None
    pixels = math.prod(header.size) if header else 0
    with budget.take(pixels * BYTES_PER_PIXEL):
        return _Checked([]) if budget.is_over else _check_one(record, num_classes)


def _check_one(record: Record, num_classes: int) -> _Checked:
    problems = []
    image_size, is_dark = None, False
    try:
        image = record.image()
        image_size, is_dark = image.shape[:2], bool(image.max(initial=0) <= DARK)
        del image  # before the masks are read
    except InputError as error:
        problems.append(str(error))
    try:
        target = record.target()
        shape, counts = target.masks.shape, target.counts()
    except InputError as error:
        return _Checked([*problems, str(error)])
    if image_size is not None and image_size != shape[1:]:
        problems.append(
            f"{record.name}: the image is {image_size[1]}x{image_size[0]} pixels, its labels are for "
            f"{shape[2]}x{shape[1]}"
        )
    for index in np.flatnonzero((target.class_ids < 0) | (target.class_ids >= num_classes)):
        problems.append(
            f"{record.name}: class {target.class_ids[index]} is out of range; the dataset has {num_classes} classes"
        )
    learned = target.class_ids[(counts > 0) & ~target.crowd]
    empty = tuple(("without a pixel", id_) for id_ in target.ids[counts == 0])
    unknown_share = 1 - counts.sum() / max(math.prod(shape[1:]), 1)
    return _Checked(problems, frozenset(learned.tolist()), (*target.left_out, *empty), unknown_share, is_dark)


def _with_progress(checked: Iterator[_Checked], total: int) -> Iterator[_Checked]:
    """Pass results on, and show how many there were."""
    if sys.stderr is not None and sys.stderr.isatty():
        yield from tqdm(checked, "check", total, unit="image")
        return
    told = time.monotonic()
    for number, one in enumerate(checked, 1):
        if time.monotonic() - told > SECONDS_PER_LINE:
            told = time.monotonic()
            echo(f"checked {number} of {total} images", err=True)
        yield one

"""Check a dataset before training, and report all problems in one error."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.errors import InputError
from lucid_mlx.utils.validation import check_value

MAX_LISTED = 20  # problems that an error lists; the others are counted


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
    """Read all images and labels of a dataset, on all cores, and check them.

    This finds damaged files, images whose size differs from that of their labels, labels and segments that the dataset
    does not define, and empty masks. Opening a dataset already finds what needs no pixels: missing files, unknown
    categories, invalid polygons.

    Args:
        dataset: what to check.
        progress: show a progress bar, if standard error is a terminal.

    Raises:
        InputError: if anything is wrong; it names the files and annotations of the first problems.
    """
    check_value("dataset", dataset, Dataset)
    problems = Problems("the labeled images")
    with ThreadPoolExecutor() as pool:
        results = pool.map(_problems, dataset.records, [len(dataset.class_names)] * len(dataset.records))
        bar = tqdm(results, "validate", len(dataset.records), unit="image", disable=None if progress else True)
        for record_problems in bar:
            for problem in record_problems:
                problems.add(problem)
    problems.raise_if_any()


def _problems(record: Record, num_classes: int) -> list[str]:
    """Return the problems of a record."""
    problems = []
    image_size = None
    try:
        image_size = record.image().shape[:2]
    except InputError as error:
        problems.append(str(error))
    try:
        target = record.target()
    except InputError as error:
        return [*problems, str(error)]
    size = target.masks.shape[1:]
    if image_size is not None and image_size != size:
        problems.append(
            f"{record.name}: the image is {image_size[1]}x{image_size[0]} pixels, its labels are for "
            f"{size[1]}x{size[0]}"
        )
    for index in np.flatnonzero(~target.masks.any(axis=(1, 2))):
        problems.append(f"{record.name}: annotation {target.ids[index]} has no pixels")
    for index in np.flatnonzero((target.class_ids < 0) | (target.class_ids >= num_classes)):
        problems.append(
            f"{record.name}: class {target.class_ids[index]} is out of range; the dataset has {num_classes} classes"
        )
    return problems

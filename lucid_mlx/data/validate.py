"""Labels are checked before anything is learned from them, and all that is wrong is told at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.data.dataset import Dataset, Record
from lucid_mlx.errors import InputError

MOST = 20  # problems that are told one by one


class Problems:
    """What is wrong with a file or a dataset, collected to be told in one error.

    Args:
        where: what to call it.
    """

    def __init__(self, where: str):
        self.where = where
        self._first: list[str] = []
        self._count = 0

    def add(self, problem: str) -> None:
        """Note a problem."""
        self._count += 1
        if self._count <= MOST:
            self._first.append(problem)

    def tell(self) -> None:
        """Raise them.

        Raises:
            InputError: if there are any.
        """
        if self._count:
            more = [f"and {self._count - MOST} more"] if self._count > MOST else []
            count = "1 problem" if self._count == 1 else f"{self._count} problems"
            raise InputError("\n  ".join([f"{self.where}: {count}", *self._first, *more]))


def validate(dataset: Dataset, progress: bool = False) -> None:
    """Read every image and every label of a dataset, on all cores.

    Found are files that are damaged, images of another size than their labels, labels and segments that the dataset
    does not know, and parts without a pixel. What can be told without reading pixels, such as missing files, unknown
    categories and broken polygons, is told already when a dataset is opened.

    Args:
        dataset: what to check.
        progress: show a progress bar, if standard error is a terminal.

    Raises:
        InputError: if anything is wrong; it names file and annotation of the first problems.
    """
    problems = Problems("the labeled images")
    with ThreadPoolExecutor() as pool:
        found = pool.map(_problems, dataset.records, [len(dataset.names)] * len(dataset.records))
        for several in tqdm(found, "validate", len(dataset.records), unit="image", disable=None if progress else True):
            for problem in several:
                problems.add(problem)
    problems.tell()


def _problems(record: Record, classes: int) -> list[str]:
    """Return what is wrong with a record."""
    found = []
    size = None
    try:
        size = record.image().shape[:2]
    except InputError as error:
        found.append(str(error))
    try:
        target = record.target()
    except InputError as error:
        return [*found, str(error)]
    seen = target.masks.shape[1:]
    if size is not None and size != seen:
        found.append(f"{record.name}: the image is {size[1]}x{size[0]} pixels, its labels are for {seen[1]}x{seen[0]}")
    for number in np.flatnonzero(~target.masks.any(axis=(1, 2))):
        found.append(f"{record.name}: annotation {target.ids[number]} covers no pixel")
    for number in np.flatnonzero((target.class_ids < 0) | (target.class_ids >= classes)):
        found.append(f"{record.name}: class {target.class_ids[number]} is not among the {classes} of the dataset")
    return found

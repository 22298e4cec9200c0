"""The masks of an image in little memory: as run lengths, or as one map. They become pixels within a crop only."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.data.coco_masks import Size, run_lengths
from lucid_mlx.data.orientation import TURNS


class Masks(Protocol):
    """N masks of an image, which take the memory of all their pixels only where an array is made of them."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W)."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a mask, (H, W) bool."""

    def fill(self, out: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Write the pixels of some rows and columns.

        Args:
            out: (N, rows, columns) bool, all False.
            rows: their indices, rising or falling.
            columns: their indices, rising or falling.
        """

    def counts(self) -> np.ndarray:
        """Count the pixels of each mask, (N,) int64."""


class _Packed:
    """What the two kinds have in common: an array can be made of them, and they can be iterated over."""

    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self: Any) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def __array__(self: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.zeros(self.shape, bool)
        self.fill(array, np.arange(self.shape[1]), np.arange(self.shape[2]))
        return array if dtype is None else array.astype(dtype)


class LabelMasks(_Packed):
    """Masks that do not overlap, as a map of labels.

    Args:
        labels: (H, W), integers.
        values: the label of each mask.

    Attributes:
        labels: as given.
        values: as given.
        shape: (N, H, W).
    """

    def __init__(self, labels: np.ndarray, values: Sequence[int] | np.ndarray):
        self.labels, self.values = labels, np.asarray(values, labels.dtype)
        self.shape = (len(self.values), *labels.shape)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a mask, (H, W) bool."""
        return self.labels == self.values[index]

    def fill(self, out: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Write the pixels of some rows and columns; arguments as of `Masks`."""
        labels = self.labels[np.ix_(rows, columns)]
        present = set(np.unique(labels).tolist())
        for mask, value in zip(out, self.values.tolist(), strict=True):
            if value in present:
                np.equal(labels, value, out=mask)

    def counts(self) -> np.ndarray:
        """Count the pixels of each mask, (N,) int64."""
        found = count_labels(self.labels)
        return np.array([found.get(value, 0) for value in self.values.tolist()], np.int64)


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """Count the pixels of each label in a map.

    Args:
        labels: (H, W), integers.

    Returns:
        The count of each label that occurs, in rising order. It is fast for maps of large areas.
    """
    flat = labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if flat.size else np.zeros(0, np.int64)
    found, inverse = np.unique(flat[starts], return_inverse=True)
    lengths = np.diff(np.append(starts, flat.size))
    counts = np.bincount(inverse, lengths, len(found)).astype(np.int64)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


class RunMasks(_Packed):
    """Masks that may overlap, as run lengths (RLE).

    Args:
        runs: the run lengths of each mask, down the columns: numbers, or compressed as COCO does.
        size: (height, width) of the image for which they are.
        exif: the EXIF orientation that turns them upright.

    Attributes:
        runs: as given.
        shape: (N, H, W), upright.
    """

    def __init__(self, runs: Sequence[str | bytes | Sequence[int]], size: Size, exif: int = 1):
        self.runs, self._size, self._exif = runs, size, exif
        self.shape = (len(runs), *(size[::-1] if TURNS[exif][2] else size))

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a mask, (H, W) bool."""
        mask = np.zeros((1, *self.shape[1:]), bool)
        one = RunMasks([self.runs[index]], self._size, self._exif)
        one.fill(mask, np.arange(self.shape[1]), np.arange(self.shape[2]))
        return mask[0]

    def fill(self, out: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Write the pixels of some rows and columns; arguments as of `Masks`."""
        mirror_rows, mirror_columns, transpose = TURNS[self._exif]
        if transpose:
            out, rows, columns = out.transpose(0, 2, 1), columns, rows
        rows = self._size[0] - 1 - rows if mirror_rows else rows
        columns = self._size[1] - 1 - columns if mirror_columns else columns
        for mask, runs in zip(out, self.runs, strict=True):
            _fill(mask, run_lengths(runs, self._size), self._size[0], rows, columns)

    def rle(self, index: int) -> dict[str, Any]:
        """Return a mask as COCO's compressed RLE."""
        runs = self.runs[index]
        if self._exif == 1 and isinstance(runs, str | bytes):
            return {"size": list(self._size), "counts": runs.encode() if isinstance(runs, str) else runs}
        encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(self[index]).view(np.uint8))
        return encoded

    def counts(self) -> np.ndarray:
        """Count the pixels of each mask, (N,) int64."""
        return np.array([run_lengths(runs, self._size)[1::2].sum() for runs in self.runs], np.int64)


def _fill(mask: np.ndarray, lengths: np.ndarray, height: int, rows: np.ndarray, columns: np.ndarray) -> None:
    """Write the pixels of one mask. Only the columns that it covers are decoded."""
    ends = np.cumsum(lengths)
    inside = np.flatnonzero(lengths[1::2]) * 2 + 1  # the runs that have pixels
    if not inside.size:
        return
    left, right = int(ends[inside[0] - 1]) // height, int(ends[inside[-1]] - 1) // height + 1
    at_columns = np.flatnonzero((columns >= left) & (columns < right))
    if not at_columns.size:
        return
    left, right = int(columns[at_columns].min()), int(columns[at_columns].max()) + 1
    clipped = np.diff(ends.clip(left * height, right * height), prepend=left * height)
    pixels = np.repeat(np.arange(len(clipped)) % 2 == 1, clipped).reshape(right - left, height)
    covered = np.flatnonzero(pixels.any(axis=0))
    if not covered.size:
        return
    at_rows = np.flatnonzero((rows >= covered[0]) & (rows <= covered[-1]))
    if at_rows.size:
        part = mask[at_rows[0] : at_rows[-1] + 1, at_columns[0] : at_columns[-1] + 1]
        part[:] = pixels[np.ix_(columns[at_columns] - left, rows[at_rows])].T

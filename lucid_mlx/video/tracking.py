"""Which segment of a frame is which of the frame before."""

from collections import defaultdict
from itertools import count

import numpy as np
from scipy.optimize import linear_sum_assignment

from lucid_mlx.results import Segmentation
from lucid_mlx.visualization.overlay import to_regions

LEAST_OVERLAP = 0.1  # intersection over union, from which two segments can be the same


class Tracker:
    """Numbers the segments of consecutive frames, so that what stays keeps its number.

    Segments of a class are numbered from 0. One that overlaps one of the frame before takes over its number, so that
    the sum of the overlaps (intersection over union in the maps) is as large as possible; others take the lowest
    numbers that are free. What was away is new.
    """

    def __init__(self) -> None:
        self._before: tuple[Segmentation, list[int]] | None = None

    def numbers(self, frame: Segmentation) -> list[int]:
        """Return the number of each of the next frame's segments, in their order.

        Args:
            frame: of the same task and size as those before; another size starts anew.
        """
        known: dict[int, int] = {}
        if self._before is not None and self._before[0].map.shape == frame.map.shape:
            before, numbers = self._before
            overlap = _overlaps(before, frame)
            overlap[overlap < LEAST_OVERLAP] = 0.0
            rows, columns = linear_sum_assignment(overlap, maximize=True)
            known = {
                int(column): numbers[row]
                for row, column in zip(rows, columns, strict=True)
                if overlap[row, column] > 0.0
            }
        taken: defaultdict[int, set[int]] = defaultdict(set)
        for place, number in known.items():
            taken[frame.segments[place].label_id].add(number)
        for place, segment in enumerate(frame.segments):
            if place not in known:
                known[place] = next(number for number in count() if number not in taken[segment.label_id])
                taken[segment.label_id].add(known[place])
        chosen = [known[place] for place in range(len(frame.segments))]
        self._before = (frame, chosen)
        return chosen


def _overlaps(one: Segmentation, other: Segmentation) -> np.ndarray:
    """Return the intersection over union of each two segments of the same class, (N, M); 0 of different classes."""
    first, second = (to_regions(part.map, [segment.id for segment in part.segments]) for part in (one, other))
    shape = (len(one.segments) + 1, len(other.segments) + 1)  # the last row and column: no segment
    pairs = (first % shape[0]).ravel() * shape[1] + (second % shape[1]).ravel()
    common = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
    union = common.sum(1, keepdims=True) + common.sum(0, keepdims=True) - common
    kinds = [np.array([segment.label_id for segment in part.segments], int) for part in (one, other)]
    same = kinds[0][:, None] == kinds[1]
    overlap: np.ndarray = np.where(same, common[:-1, :-1] / np.maximum(union[:-1, :-1], 1), 0.0)
    return overlap

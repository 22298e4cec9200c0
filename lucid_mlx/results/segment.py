"""A part of an image that has one class."""

from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Segment:
    """A part of an image that has one class: all pixels of it, or one object.

    Attributes:
        id: its number in the map.
        label_id: its class.
        label: the name of the class.
        score: how sure the network is, 0 to 1; None in a semantic map, where a class as a whole has no score.
        area: its pixels.
        box: left, top, right, bottom in pixels, the last two exclusive.
    """

    id: int
    label_id: int
    label: str
    score: float | None
    area: int
    box: Box


def boxes(ids: np.ndarray) -> dict[int, Box]:
    """Return the box of each number above 0 in a map, (H, W) int."""
    from scipy import ndimage  # which takes longer to import than all of this package

    found = enumerate(ndimage.find_objects(ids), 1)
    return {number: (part[1].start, part[0].start, part[1].stop, part[0].stop) for number, part in found if part}

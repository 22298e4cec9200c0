"""A part of an image that has one class."""

from dataclasses import dataclass

from lucid_mlx.visualization.overlay import Box


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

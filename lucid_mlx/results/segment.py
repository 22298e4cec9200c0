"""One segment of an image."""

from dataclasses import dataclass, field

from lucid_mlx.visualization.overlay import Box


@dataclass(frozen=True)
class Segment:
    """A segment of an image: all pixels of a class, or one object.

    Attributes:
        id: the segment's id in the map.
        label_id: id of its class.
        label: name of its class.
        score: confidence of the network, 0 to 1; None in a semantic segmentation, whose classes have no score.
        area: number of pixels.
        box: (left, top, right, bottom) in pixels, right and bottom exclusive.
        track_id: in a video, id of the object, the same in all its frames, from 1; None in a photo.
        queries: the network's queries that it comes from: one, or several whose segments were merged; none in a
            semantic segmentation.
    """

    id: int
    label_id: int
    label: str
    score: float | None
    area: int
    box: Box
    track_id: int | None = None
    queries: tuple[int, ...] = field(default=(), compare=False, repr=False)

"""What somebody changes about a result on the page: segments that are hidden or have another name."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment

MAX_NAME = 100  # characters


@dataclass
class Edits:
    """Changes to the segments of a photo, which stay as they are if the threshold moves or the photo comes again.

    Attributes:
        hidden: segments that are not shown.
        names: segments and their new names.
    """

    hidden: list[Segment] = field(default_factory=list)
    names: list[tuple[Segment, str]] = field(default_factory=list)

    def hide(self, segment: Segment) -> None:
        """Hide a segment."""
        self.hidden.append(segment)

    def name(self, segment: Segment, name: str) -> None:
        """Give a segment a name.

        Args:
            segment: of a result of the network.
            name: the name; an empty one gives back its own.
        """
        self.names = [(one, given) for one, given in self.names if not _is_same(one, segment)]
        if name := name.strip()[:MAX_NAME]:
            self.names.append((segment, name))

    def hidden_in(self, result: Segmentation) -> list[Segment]:
        """Return the segments of a result that are hidden."""
        return [one for one in result.segments if any(_is_same(one, hidden) for hidden in self.hidden)]

    def apply(self, result: Segmentation) -> Segmentation:
        """Change a result; ids in its map stay.

        Args:
            result: of the network.

        Returns:
            A new result without the hidden segments, and with the new names.
        """
        if hidden := [segment.id for segment in self.hidden_in(result)]:
            result = result.only([segment for segment in result.segments if segment.id not in hidden])
        for edited, name in self.names:
            ids = {segment.id for segment in result.segments if _is_same(segment, edited)}
            result = renamed(result, ids, name) if ids else result
        return result


def _is_same(one: Segment, other: Segment) -> bool:
    """Return whether two segments, with different thresholds perhaps, are of one class and have a query in common."""
    common = not set(one.queries).isdisjoint(other.queries) or one.queries == other.queries
    return one.label_id == other.label_id and common


def renamed(result: Segmentation, ids: Collection[int], name: str) -> Segmentation:
    """Give segments a name: that of a class of the network, or a new one, which then is one more class.

    In a semantic segmentation, where a segment is a class, the class itself gets the name.

    Args:
        result: it stays as it is.
        ids: of the segments.
        name: the new name.

    Returns:
        A new result.
    """
    if result.task == "semantic":
        labels = {**result.labels, **dict.fromkeys(ids, name)}
        segments = tuple(replace(one, label=labels[one.label_id]) for one in result.segments)
        return replace(result, labels=labels, segments=segments)
    label_id = next((key for key, label in result.labels.items() if label == name), max(result.labels) + 1)
    segments = tuple(replace(one, label_id=label_id, label=name) if one.id in ids else one for one in result.segments)
    return replace(result, labels={**result.labels, label_id: name}, segments=segments)

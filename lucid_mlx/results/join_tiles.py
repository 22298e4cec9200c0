"""One result of those of overlapping tiles: segments that a seam cuts are joined."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results.packed_mask import pack, pack_crop, unpack
from lucid_mlx.results.segment import Segment
from lucid_mlx.results.segmentation import Segmentation
from lucid_mlx.visualization.overlay import Box, bounding_boxes

JOIN_IOU = 0.5  # as panoptic quality matches segments: above it no segment can have two partners in a tile
STRIP = 64  # rows of a map that are looked at together


class Span(NamedTuple):
    """A tile along one axis.

    Attributes:
        start: its first pixel.
        stop: one more than its last pixel.
        core_start: the first pixel that is nearer to its middle than to that of the neighbors.
        core_stop: one more than the last one.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int


class Tile(NamedTuple):
    """A rectangular part of a picture, by its rows and columns."""

    rows: Span
    columns: Span

    @property
    def region(self) -> tuple[slice, slice]:
        """Its rows and columns in the picture."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def box(self) -> Box:
        """(left, top, right, bottom) in the picture."""
        return self.columns.start, self.rows.start, self.columns.stop, self.rows.stop

    @property
    def core(self) -> Box:
        """(left, top, right, bottom) of the part that is its own: cores do not overlap, and fill the picture."""
        return self.columns.core_start, self.rows.core_start, self.columns.core_stop, self.rows.core_stop


@dataclass
class _Piece:
    """What a tile sees of a segment; the box is in the picture's pixels."""

    number: int
    label_id: int
    score: float
    box: Box
    packed: bytes
    owned: bool  # whether it reaches into the tile's core

    def mask(self) -> np.ndarray:
        return unpack(self.packed, (self.box[3] - self.box[1], self.box[2] - self.box[0]))


class Joiner:
    """Joins the results of tiles, which are added row by row.

    Args:
        task: "instance" or "panoptic".
        shape: (height, width) of the picture.
        thing_ids: the classes that have countable objects; None for all. Of another class there is one segment.
    """

    def __init__(self, task: str, shape: tuple[int, int], thing_ids: Collection[int] | None):
        self._task, self._shape, self._thing_ids = task, shape, thing_ids
        self._map = np.zeros(shape, np.int32)
        self._pieces: list[_Piece] = []
        self._parents: list[int] = []
        self._stuff: dict[int, int] = {}
        self._recent: list[tuple[Tile, list[tuple[_Piece, np.ndarray]]]] = []

    def add(self, tile: Tile, result: Segmentation) -> None:
        """Add what was found in a tile.

        Args:
            tile: where it is.
            result: its result, at the picture's resolution.
        """
        seen = [self._piece(tile, result, segment) for segment in result.segments]
        self._recent = [each for each in self._recent if each[0].rows.stop > tile.rows.start]
        for other, pieces in self._recent:
            if overlap := _common(tile.box, other.box):
                self._match(seen, pieces, overlap)
        self._recent.append((tile, [each for each in seen if self._is_thing(each[0].label_id)]))
        if self._task == "panoptic":
            self._paint(tile, result, [piece for piece, _ in seen])

    def result(
        self, image: np.ndarray, labels: Mapping[int, str], name: str | None, thresholds: Thresholds
    ) -> Segmentation:
        """Return the result for the picture, after which nothing more can be added.

        Args:
            image: (H, W, 3) uint8, RGB, the picture.
            labels: names of all classes, by class id.
            name: the picture's file name or URL, if any.
            thresholds: what counted as found.

        Returns:
            The result. Its segments name no queries, since each tile has its own.
        """
        groups: dict[int, list[_Piece]] = {}
        for piece in self._pieces:
            groups.setdefault(self._root(piece.number), []).append(piece)
        whole = [pieces for pieces in groups.values() if any(piece.owned for piece in pieces)]
        segments, masks = self._panoptic(whole, labels) if self._task == "panoptic" else self._instances(whole, labels)
        return Segmentation(self._task, image, self._map, tuple(segments), labels, name, masks, thresholds)

    def _is_thing(self, label_id: int) -> bool:
        return self._task == "instance" or self._thing_ids is None or label_id in self._thing_ids

    def _piece(self, tile: Tile, result: Segmentation, segment: Segment) -> tuple[_Piece, np.ndarray]:
        """Return a piece and its mask within its box, both noted."""
        left, top, right, bottom = segment.box
        if result.task == "panoptic":
            mask = result.map[top:bottom, left:right] == segment.id
        else:
            mask = result.mask(segment)[top:bottom, left:right]
        box = _moved(segment.box, tile.columns.start, tile.rows.start)
        number = len(self._pieces)
        core = _common(box, tile.core)
        owned = core is not None and bool(_crop(mask, box, core).any())
        piece = _Piece(number, segment.label_id, segment.score or 0.0, box, pack(mask), owned)
        self._pieces.append(piece)
        self._parents.append(number)
        if not self._is_thing(segment.label_id):
            self._join(number, self._stuff.setdefault(segment.label_id, number))
        return piece, mask

    def _match(
        self, ours: list[tuple[_Piece, np.ndarray]], theirs: list[tuple[_Piece, np.ndarray]], overlap: Box
    ) -> None:
        """Join the segments of two tiles that are one where the tiles overlap."""
        areas: dict[int, int] = {}
        for piece, mask in ours + theirs:
            if there := _common(piece.box, overlap):
                areas[piece.number] = int(np.count_nonzero(_crop(mask, piece.box, there)))
        for one, mask in ours:
            for other, other_mask in theirs:
                if one.label_id != other.label_id or not {one.number, other.number} <= areas.keys():
                    continue
                there = _common(one.box, _common(other.box, overlap))
                if there is None:
                    continue
                both = _crop(mask, one.box, there) & _crop(other_mask, other.box, there)
                common = int(np.count_nonzero(both))
                if common > JOIN_IOU * (areas[one.number] + areas[other.number] - common):
                    self._join(one.number, other.number)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def _join(self, one: int, other: int) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._parents[second] = first

    def _paint(self, tile: Tile, result: Segmentation, pieces: list[_Piece]) -> None:
        """Write the number of each piece, from 1, into the map: in the tile's core, and elsewhere where nothing is."""
        numbers = np.zeros(max((segment.id for segment in result.segments), default=0) + 1, np.int32)
        for segment, piece in zip(result.segments, pieces, strict=True):
            numbers[segment.id] = piece.number + 1 if piece.owned else 0
        found, place = numbers[result.map], self._map[tile.region]
        left, top, right, bottom = _moved(tile.core, -tile.columns.start, -tile.rows.start)
        core = (slice(top, bottom), slice(left, right))
        np.copyto(place[core], found[core], where=found[core] > 0)
        np.copyto(place, found, where=place == 0)

    def _panoptic(self, whole: list[list[_Piece]], labels: Mapping[int, str]) -> tuple[list[Segment], None]:
        ids = np.zeros(len(self._pieces) + 1, np.int32)
        for number, pieces in enumerate(whole, 1):
            ids[[piece.number + 1 for piece in pieces]] = number
        for top in range(0, len(self._map), STRIP):
            self._map[top : top + STRIP] = ids[self._map[top : top + STRIP]]
        measured = measure(self._map)
        segments: list[Segment] = []
        for number, pieces in enumerate(whole, 1):
            if number in measured:  # else others have all of its pixels
                label_id = pieces[0].label_id
                segments.append(Segment(number, label_id, labels[label_id], _score(pieces), *measured[number]))
        return segments, None

    def _instances(
        self, whole: list[list[_Piece]], labels: Mapping[int, str]
    ) -> tuple[list[Segment], dict[int, bytes]]:
        whole.sort(key=lambda pieces: -_score(pieces))
        segments: list[Segment] = []
        masks: dict[int, bytes] = {}
        for number, pieces in enumerate(whole, 1):
            box = _around([piece.box for piece in pieces])
            mask = np.zeros((box[3] - box[1], box[2] - box[0]), bool)
            for piece in pieces:
                part = _crop(mask, box, piece.box)
                part |= piece.mask()
            masks[number] = pack_crop(mask, box, self._shape)
            free = _crop(self._map, (0, 0, self._shape[1], self._shape[0]), box)
            free[mask & (free == 0)] = number  # the best come first
            label_id, area = pieces[0].label_id, int(np.count_nonzero(mask))
            segments.append(Segment(number, label_id, labels[label_id], _score(pieces), area, box))
        return segments, masks


def measure(ids: np.ndarray) -> dict[int, tuple[int, Box]]:
    """Measure the segments of a map, strip by strip.

    Args:
        ids: (H, W) int32; what is below 1 does not count.

    Returns:
        The area in pixels and the box of each id.
    """
    found: dict[int, tuple[int, Box]] = {}
    for top in range(0, len(ids), STRIP):
        strip = ids[top : top + STRIP]
        areas = np.bincount(np.maximum(strip, 0).ravel())
        for number, box in bounding_boxes(strip).items():
            area, box = int(areas[number]), _moved(box, 0, top)
            if number in found:
                area, box = area + found[number][0], _around([box, found[number][1]])
            found[number] = area, box
    return found


def _score(pieces: list[_Piece]) -> float:
    return max(piece.score for piece in pieces)


def _moved(box: Box, right: int, down: int) -> Box:
    return box[0] + right, box[1] + down, box[2] + right, box[3] + down


def _around(boxes: list[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _common(one: Box, other: Box | None) -> Box | None:
    """Return what two boxes have in common; None if that is nothing."""
    if other is None:
        return None
    left, top, right, bottom = (
        max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]),
    )  # fmt: skip
    return (left, top, right, bottom) if left < right and top < bottom else None


def _crop(values: np.ndarray, box: Box, part: Box) -> np.ndarray:
    """Return a part of an array that lies in a box; the part lies within the box."""
    return values[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]]

"""The data of a result: the photo, the map of ids, the segments, and a mask for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.postprocessing.instance import InstanceCandidates
from lucid_mlx.postprocessing.panoptic import PanopticCandidates
from lucid_mlx.results.appearance import Appearance
from lucid_mlx.results.packed_mask import unpack
from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value
from lucid_mlx.visualization.overlay import distinct_masks

VOID_IDS = {"semantic": -1, "instance": 0, "panoptic": 0}  # in the map of a task: id of pixels without a segment


@dataclass(frozen=True, eq=False, repr=False)
class SegmentedImage:
    """An image and its segments.

    Attributes:
        task: "semantic", "instance" or "panoptic".
        image: (H, W, 3) uint8, RGB: the photo, upright.
        map: (H, W) int32, the id of each pixel's segment. In a semantic map the ids are the class ids, and -1 stands
            for no segment; in others ids start from 1, and 0 stands for no segment. Where instances overlap, the map
            shows the one with the highest score.
        segments: in a semantic map the largest comes first, among instances the one with the highest score; in a
            panoptic map they are in the order of their ids.
        labels: names of all classes of the network, by class id.
        name: the photo's file name or URL; None if it has none.
        thresholds: what counted as found; None in a semantic map, and if it is not known.
    """

    task: str
    image: np.ndarray
    map: np.ndarray
    segments: tuple[Segment, ...]
    labels: Mapping[int, str]
    name: str | None = None
    _packed_masks: dict[int, bytes] | None = None  # of instances, by id, highest score first; masks may overlap
    thresholds: Thresholds | None = None
    _candidates: PanopticCandidates | InstanceCandidates | None = None  # for `with_threshold`
    _appearances: Mapping[int, Appearance] | None = None  # by query, for `lucid_mlx.video.Tracker`

    def mask(self, segment: Segment) -> np.ndarray:
        """Return the mask of a segment, (H, W) bool."""
        check_value("segment", segment, Segment)
        if segment not in self.segments:
            raise InputError(f"the result has no such segment: {shown(segment)}")
        if self._packed_masks is None:
            return self.map == segment.id
        return unpack(self._packed_masks[segment.id], self.map.shape)

    @property
    def masks(self) -> np.ndarray:
        """The masks of all segments, (N, H, W) bool. To save memory, call `mask` for one segment at a time."""
        masks = np.empty((len(self.segments), *self.map.shape), bool)
        for mask, segment in zip(masks, self.segments, strict=True):
            mask[:] = self.mask(segment)
        return masks

    @cached_property
    def distinct(self) -> tuple[Segment, ...]:
        """The segments that pictures and `summary` show: of near-duplicate instances the one with the highest score.

        Two instances are near-duplicates if their intersection is more than 0.8 of their union. Exports have both.
        """
        if self._packed_masks is None:
            return self.segments
        shown = distinct_masks(LazyMasks(self), [segment.score or 0.0 for segment in self.segments], self.image)
        return tuple(segment for index, segment in enumerate(self.segments) if index in shown)


@dataclass(frozen=True)
class LazyMasks:
    """A sequence of a result's masks; each is decompressed when it is indexed.

    Attributes:
        result: whose masks they are.
    """

    result: SegmentedImage

    def __len__(self) -> int:
        return len(self.result.segments)

    def __getitem__(self, index: int, /) -> np.ndarray:
        return self.result.mask(self.result.segments[index])


def map_of_masks(packed_masks: Mapping[int, bytes], shape: tuple[int, ...]) -> np.ndarray:
    """Make a map of masks that may overlap.

    Args:
        packed_masks: the compressed masks by id; the first is on top.
        shape: the map's shape, (H, W).

    Returns:
        (H, W) int32, the ids; 0 where no mask is.
    """
    ids = np.zeros(shape, np.int32)
    for segment_id in reversed(list(packed_masks)):
        ids[unpack(packed_masks[segment_id], shape)] = segment_id
    return ids

"""Track segments from frame to frame."""

from collections import defaultdict
from itertools import count

import numpy as np
from scipy.optimize import linear_sum_assignment

from lucid_mlx.results import Segmentation
from lucid_mlx.utils.validation import check_value
from lucid_mlx.visualization.overlay import ids_to_indices

MIN_IOU = 0.1  # minimum intersection over union of two segments of one track


class Tracker:
    """Gives the segments of consecutive frames track numbers.

    The tracks of each class are numbered from 0. A segment continues the track of a segment of its class in the
    previous frame, such that the sum of the intersections over union (of the visible pixels) is maximal. Other segments
    start a track, with the lowest free number. A track ends as soon as a frame lacks it.
    """

    def __init__(self) -> None:
        self._previous: tuple[Segmentation, list[int]] | None = None

    def update(self, frame: Segmentation) -> list[int]:
        """Track the segments of the next frame.

        Args:
            frame: the frame's segmentation, for the same task as before. If its size changes, all tracks end.

        Returns:
            The track number of each segment, in the order of `frame.segments`.
        """
        check_value("frame", frame, Segmentation)
        tracks: dict[int, int] = {}  # from the index of a segment to its track
        if self._previous is not None and self._previous[0].map.shape == frame.map.shape:
            previous, previous_tracks = self._previous
            iou = _pairwise_iou(previous, frame)
            iou[iou < MIN_IOU] = 0.0
            rows, columns = linear_sum_assignment(iou, maximize=True)
            tracks = {
                int(column): previous_tracks[row]
                for row, column in zip(rows, columns, strict=True)
                if iou[row, column] > 0.0
            }
        taken: defaultdict[int, set[int]] = defaultdict(set)  # by class
        for index, track in tracks.items():
            taken[frame.segments[index].label_id].add(track)
        for index, segment in enumerate(frame.segments):
            if index not in tracks:
                tracks[index] = next(track for track in count() if track not in taken[segment.label_id])
                taken[segment.label_id].add(tracks[index])
        result = [tracks[index] for index in range(len(frame.segments))]
        self._previous = (frame, result)
        return result


def _pairwise_iou(one: Segmentation, other: Segmentation) -> np.ndarray:
    """Return the intersection over union of all pairs of segments, (N, M); 0 for different classes."""
    first, second = (
        ids_to_indices(each.map, [segment.id for segment in each.segments]).astype(np.int64) for each in (one, other)
    )
    shape = (len(one.segments) + 1, len(other.segments) + 1)  # the last row and column are for pixels of no segment
    pairs = (first % shape[0]).ravel() * shape[1] + (second % shape[1]).ravel()
    intersection = np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)
    union = intersection.sum(1, keepdims=True) + intersection.sum(0, keepdims=True) - intersection
    label_ids = [np.array([segment.label_id for segment in each.segments], int) for each in (one, other)]
    same_class = label_ids[0][:, None] == label_ids[1]
    iou: np.ndarray = np.where(same_class, intersection[:-1, :-1] / np.maximum(union[:-1, :-1], 1), 0.0)
    return iou

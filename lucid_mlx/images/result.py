"""What a segmentation gives: a map, its segments, and ways to look at them and to hand them on."""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from lucid_mlx.errors import InputError
from lucid_mlx.files import write_file
from lucid_mlx.images import export
from lucid_mlx.images.draw import draw_instances, draw_panoptic, draw_semantic
from lucid_mlx.images.postprocess import Instances, Panoptic
from lucid_mlx.images.segment import Box, Segment

Masks = Callable[[Sequence[int]], np.ndarray]

TASKS = ("semantic", "instance", "panoptic")
NOTHING = {"semantic": -1, "instance": 0, "panoptic": 0}  # a pixel of no segment


@dataclass(frozen=True, repr=False)
class Segmentation:
    """The segments of one image.

    Attributes:
        task: "semantic", "instance" or "panoptic".
        image: (H, W, 3) uint8, RGB: the photo, upright.
        map: (H, W) int32, the `id` of each pixel's segment. Where there is none: -1 in a semantic map, whose ids are
            the classes; 0 in the others, whose ids count from 1. Of instances that overlap the surest is seen.
        segments: largest first in a semantic map, surest first among instances, by id in a panoptic map.
        labels: names of all classes of the network.
        name: of the photo, if it has one.
    """

    task: str
    image: np.ndarray
    map: np.ndarray
    segments: tuple[Segment, ...]
    labels: Mapping[int, str]
    name: str | None = None
    _instance_masks: Masks | None = field(default=None)

    @classmethod
    def of_semantic(
        cls, image: np.ndarray, classes: np.ndarray, labels: Mapping[int, str], name: str | None = None
    ) -> "Segmentation":
        """Make one of a class map, (H, W) int32."""
        areas = np.bincount(classes.ravel())
        boxes = _boxes(classes + 1)
        segments = [
            Segment(number, number, labels[number], None, int(areas[number]), boxes[number + 1])
            for number in np.argsort(-areas, kind="stable").tolist()
            if areas[number]
        ]
        return cls("semantic", image, classes, tuple(segments), labels, name)

    @classmethod
    def of_panoptic(
        cls, image: np.ndarray, panoptic: Panoptic, labels: Mapping[int, str], name: str | None = None
    ) -> "Segmentation":
        """Make one of a panoptic result."""
        ids = np.array(panoptic.segmentation)
        boxes = _boxes(ids)
        segments = [
            Segment(part.id, part.label_id, labels[part.label_id], part.score, part.area, boxes[part.id])
            for part in panoptic.segments
        ]
        return cls("panoptic", image, ids, tuple(segments), labels, name)

    @classmethod
    def of_instances(
        cls,
        image: np.ndarray,
        instances: Instances,
        threshold: float,
        labels: Mapping[int, str],
        name: str | None = None,
    ) -> "Segmentation":
        """Make one of the instances whose score is at least the threshold."""
        scores, areas = np.array(instances.scores), np.array(instances.areas)
        kept = np.flatnonzero((scores >= threshold) & (areas > 0)).tolist()
        kinds, boxes = np.array(instances.label_ids).tolist(), np.array(instances.boxes).tolist()
        segments = [
            Segment(number, kinds[i], labels[kinds[i]], float(scores[i]), int(areas[i]), tuple(boxes[i]))
            for number, i in enumerate(kept, 1)
        ]

        def masks(ids: Sequence[int]) -> np.ndarray:
            return np.array(instances.masks([kept[number - 1] for number in ids]))

        ids = np.zeros(image.shape[:2], np.int32)
        for segment in reversed(segments):
            ids[masks([segment.id])[0]] = segment.id
        return cls("instance", image, ids, tuple(segments), labels, name, masks)

    def mask(self, segment: Segment) -> np.ndarray:
        """Return where a segment is, (H, W) bool."""
        if self._instance_masks is not None:
            mask: np.ndarray = self._instance_masks([segment.id])[0]
            return mask
        return self.map == segment.id

    @property
    def masks(self) -> np.ndarray:
        """Where each segment is, (N, H, W) bool; `mask` makes one at a time, in less memory."""
        if not self.segments:
            return np.zeros((0, *self.map.shape), bool)
        return np.stack([self.mask(segment) for segment in self.segments])

    def only(self, labels: Collection[str]) -> "Segmentation":
        """Keep the segments of some classes.

        Raises:
            InputError: if the network has no class of such a name.
        """
        wanted = {number for name in labels for number in label_ids(name, self.labels)}
        kept = tuple(segment for segment in self.segments if segment.label_id in wanted)
        seen = np.isin(self.map, [segment.id for segment in kept])
        return replace(self, segments=kept, map=np.where(seen, self.map, NOTHING[self.task]).astype(np.int32))

    def draw(self, **options: Any) -> Image.Image:
        """Draw the segments over the photo; options as of `lucid_mlx.images.draw_semantic` and its relatives."""
        if self.task == "semantic":
            return draw_semantic(self.image, self.map, self.labels, **options)
        if self.task == "panoptic":
            scored = [_Scored(part.id, part.label_id, part.score or 0.0) for part in self.segments]
            return draw_panoptic(self.image, self.map, scored, self.labels, **options)
        kinds, scores = ([getattr(part, name) for part in self.segments] for name in ("label_id", "score"))
        return draw_instances(self.image, self.masks, kinds, scores, self.labels, **options)

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write the picture that `draw` makes; the ending of the path says in which format."""
        return write_file(Path(path), export.picture_file(self.draw(**options), Path(path)))

    def to_mask(self) -> Image.Image:
        """Return the map as a grayscale picture of 8 bits, or 16 if it takes them; 255 or 65535 where nothing is."""
        return export.mask_picture(self.map, NOTHING[self.task])

    def to_coco(self, image_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """Return COCO annotations, one a segment, with compressed run lengths; `category_id` is the label's id.

        Args:
            image_id: the image's number in the dataset.
            first_id: the first annotation's number.
        """
        return export.coco_annotations(self.segments, self.mask, image_id, first_id)

    def to_panoptic_png(self) -> tuple[Image.Image, dict[str, Any]]:
        """Return COCO's panoptic picture, whose colours are ids (red + 256 green + 65536 blue), and its annotation."""
        ids = self.map + 1 if self.task == "semantic" else self.map
        shift = 1 if self.task == "semantic" else 0
        return export.panoptic_picture(ids), export.panoptic_annotation(self.segments, shift, self.name)

    def to_labelme(self) -> dict[str, Any]:
        """Return what labelme reads: a mask for each segment."""
        return export.labelme(self.segments, self.mask, self.map.shape, self.name)

    def to_json(self) -> dict[str, Any]:
        """Return the task, the size and the segments as JSON has them, without masks."""
        height, width = self.map.shape
        return {
            "image": self.name,
            "task": self.task,
            "width": width,
            "height": height,
            "segments": [export.segment_json(segment) for segment in self.segments],
        }

    def summary(self) -> str:
        """Return one line: what there is, and how much of it."""
        if not self.segments:
            return "nothing found"
        if self.task == "semantic":
            parts = [f"{part.label} {part.area / self.map.size:.0%}" for part in self.segments]
        else:
            counts: dict[str, int] = {}
            for part in self.segments:
                counts[part.label] = counts.get(part.label, 0) + 1
            parts = [f"{count} {label}" if count > 1 else label for label, count in counts.items()]
        more = f", and {len(parts) - 8} more" if len(parts) > 8 else ""
        return ", ".join(parts[:8]) + more

    def __repr__(self) -> str:
        height, width = self.map.shape
        of = f" of {self.name}" if self.name else ""
        return f"<{self.task} segmentation{of}, {width}x{height}: {self.summary()}>"

    def _repr_png_(self) -> bytes:
        """What notebooks show."""
        buffer = BytesIO()
        self.draw().save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True)
class _Scored:
    id: int
    label_id: int
    score: float


def label_ids(name: str, labels: Mapping[int, str]) -> list[int]:
    """Return the classes of a name; capitals do not matter, and of several words with commas each is a name.

    Raises:
        InputError: if there is none; it tells the nearest.
    """
    wanted = name.strip().lower()
    numbers: dict[str, list[int]] = {}
    for number, label in labels.items():
        for spoken in {label.lower(), *(part.strip().lower() for part in label.split(","))}:
            numbers.setdefault(spoken, []).append(number)
    if wanted not in numbers:
        near = difflib.get_close_matches(wanted, numbers, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(labels.values())}"
        raise InputError(f"there is no class {name!r}; {hint}")
    return numbers[wanted]


def _boxes(ids: np.ndarray) -> dict[int, Box]:
    """Return the box of each number above 0 in a map."""
    found = enumerate(ndimage.find_objects(ids), 1)
    return {number: (part[1].start, part[0].start, part[1].stop, part[0].stop) for number, part in found if part}

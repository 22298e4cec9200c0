"""What a segmentation gives: a map, its segments, and ways to look at them and to hand them on."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing import Instances, Panoptic
from lucid_mlx.results import export
from lucid_mlx.results.packed_mask import pack, unpack
from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.atomic_write import encode_picture, picture_format, write_picture
from lucid_mlx.visualization.draw import draw_instances, draw_panoptic, draw_semantic
from lucid_mlx.visualization.overlay import boxes

NOTHING = {"semantic": -1, "instance": 0, "panoptic": 0}  # a pixel of no segment
NOTEBOOK = 1600  # the most pixels a side of a picture in a notebook


@dataclass(frozen=True, eq=False, repr=False)
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
    _packed: dict[int, bytes] | None = None  # of instances, whose masks may overlap; by id, surest first

    @classmethod
    def of_semantic(
        cls, image: np.ndarray, classes: np.ndarray, labels: Mapping[int, str], name: str | None = None
    ) -> "Segmentation":
        """Make one of a class map, (H, W) int32."""
        areas = np.bincount(classes.ravel())
        where = boxes(classes + 1)
        segments = [
            Segment(number, number, labels[number], None, int(areas[number]), where[number + 1])
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
        where = boxes(ids)
        segments = [
            Segment(part.id, part.label_id, labels[part.label_id], part.score, part.area, where[part.id])
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
        """Make one of the instances whose score is at least the threshold; none of the network's arrays is kept."""
        scores, kinds = np.array(instances.scores), np.array(instances.label_ids).tolist()
        segments: list[Segment] = []
        packed: dict[int, bytes] = {}
        for place in np.flatnonzero(scores >= threshold).tolist():
            mask = np.array(instances.masks([place])[0])
            area = int(np.count_nonzero(mask))
            if area:
                number, box = len(segments) + 1, boxes(mask.view(np.uint8))[1]
                segments.append(Segment(number, kinds[place], labels[kinds[place]], float(scores[place]), area, box))
                packed[number] = pack(mask)
        ids = _laid_over(packed, image.shape[:2])
        return cls("instance", image, ids, tuple(segments), labels, name, packed)

    def mask(self, segment: Segment) -> np.ndarray:
        """Return where a segment is, (H, W) bool."""
        if self._packed is None:
            return self.map == segment.id
        return unpack(self._packed[segment.id], self.map.shape)

    @property
    def masks(self) -> np.ndarray:
        """Where each segment is, (N, H, W) bool; `mask` makes one at a time, in less memory."""
        masks = np.empty((len(self.segments), *self.map.shape), bool)
        for place, segment in zip(masks, self.segments, strict=True):
            place[:] = self.mask(segment)
        return masks

    def only(self, labels: str | Collection[str]) -> "Segmentation":
        """Keep the segments of some classes.

        Args:
            labels: names of classes, or one; of several words with commas, as "sofa, couch", each is a name.

        Raises:
            InputError: if the network has no class of such a name.
        """
        names = [labels] if isinstance(labels, str) else labels
        wanted = {number for name in names for number in label_ids(name, self.labels)}
        kept = tuple(segment for segment in self.segments if segment.label_id in wanted)
        if self._packed is not None:  # an instance that another covered may come to light
            packed = {segment.id: self._packed[segment.id] for segment in kept}
            return replace(self, segments=kept, map=_laid_over(packed, self.map.shape), _packed=packed)
        seen = np.isin(self.map, [segment.id for segment in kept])
        return replace(self, segments=kept, map=np.where(seen, self.map, np.int32(NOTHING[self.task])))

    def draw(self, **options: Any) -> Image.Image:
        """Draw the segments over the photo; options as of `lucid_mlx.visualization.draw_semantic` and its relatives."""
        if self.task == "semantic":
            return draw_semantic(self.image, self.map, self.labels, **options)
        if self.task == "panoptic":
            return draw_panoptic(self.image, self.map, self.segments, self.labels, **options)
        kinds, scores = ([getattr(part, name) for part in self.segments] for name in ("label_id", "score"))
        return draw_instances(self.image, _Masks(self), kinds, scores, self.labels, **options)

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write the picture that `draw` makes.

        Args:
            path: where; its ending says in which format. What is there is overwritten.
            options: of `draw`.

        Raises:
            InputError: if it cannot be written; what was there before is then still there.
        """
        target = Path(path).expanduser()
        picture_format(target)  # before all the drawing
        return write_picture(target, self.draw(**options))

    def to_mask(self) -> Image.Image:
        """Return the map as a grayscale picture of 8 bits, or 16 if it takes them; 255 or 65535 where nothing is."""
        return export.mask_picture(self.map, NOTHING[self.task])

    def to_coco(self, image_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """Return COCO annotations, one a segment, with compressed run lengths; `category_id` is the label's id.

        Args:
            image_id: the image's number in the dataset.
            first_id: the first annotation's number.
        """
        return export.coco_annotations(self.segments, map(self.mask, self.segments), image_id, first_id)

    def to_panoptic_png(self, image_id: int = 1) -> tuple[Image.Image, dict[str, Any]]:
        """Return COCO's panoptic picture, whose colors are ids (red + 256 green + 65536 blue), and its annotation.

        Ids are those of the map, but one more in a semantic map, since 0 is nothing there.

        Args:
            image_id: the image's number in the dataset.
        """
        shift = 1 if self.task == "semantic" else 0
        ids, kinds = self.map + shift, {segment.id + shift: segment.label_id for segment in self.segments}
        name = Path(self.name).with_suffix(".png").name if self.name else f"{image_id:012}.png"
        return export.panoptic_picture(ids), export.panoptic_annotation(kinds, ids, image_id, name)

    def to_labelme(self) -> dict[str, Any]:
        """Return what labelme reads: the photo, and a mask for each segment."""
        masks = map(self.mask, self.segments)
        return export.labelme(self.segments, masks, self.image, self.name or "image.png")

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
        picture = self.draw()
        picture.thumbnail((NOTEBOOK, NOTEBOOK))
        return encode_picture(picture, "PNG")


@dataclass(frozen=True)
class _Masks:
    """The masks of a result, each made when it is asked for."""

    result: Segmentation

    def __len__(self) -> int:
        return len(self.result.segments)

    def __getitem__(self, place: int, /) -> np.ndarray:
        return self.result.mask(self.result.segments[place])


def label_ids(name: str, labels: Mapping[int, str]) -> list[int]:
    """Return the classes of a name; capitals do not matter.

    Of several words with commas, as "sofa, couch", each is a name, unless another class has it as its whole name.

    Raises:
        InputError: if there is none; it tells the nearest.
    """
    if not isinstance(name, str):
        raise InputError(f"a class is asked for by its name, got {name!r:.80}")
    wanted = name.strip().lower()
    whole: dict[str, list[int]] = {}
    words: dict[str, list[int]] = {}
    for number, label in labels.items():
        whole.setdefault(label.lower(), []).append(number)
        for word in {part.strip() for part in label.lower().split(",")}:
            words.setdefault(word, []).append(number)
    known = words | whole
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(labels.values())}"
        raise InputError(f"there is no class {name!r}; {hint}")
    return known[wanted]


def _laid_over(packed: dict[int, bytes], shape: tuple[int, ...]) -> np.ndarray:
    """Return the map of masks that overlap, by id, the first on top."""
    ids = np.zeros(shape, np.int32)
    for number, mask in reversed(packed.items()):
        ids[unpack(mask, shape)] = number
    return ids

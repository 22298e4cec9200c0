"""The result of a segmentation: a map, its segments, and methods to draw, save and export them."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing import Instances, PanopticResult
from lucid_mlx.results import export
from lucid_mlx.results.find_labels import find_label_ids
from lucid_mlx.results.packed_mask import pack, unpack
from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.files import encode_image, image_format, local_path, write_image
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.utils.validation import MAX_CLASSES, check_value
from lucid_mlx.visualization.colors import check_labels, class_colors, segment_colors
from lucid_mlx.visualization.draw import draw_instances, draw_panoptic, draw_semantic
from lucid_mlx.visualization.overlay import bounding_boxes, checked_image, checked_image_and_map, distinct_masks

VOID_IDS = {"semantic": -1, "instance": 0, "panoptic": 0}  # in the map of a task: id of pixels without a segment
MAX_NOTEBOOK_SIZE = 1600  # longer side of the image in a notebook, in pixels
MAX_SUMMARY_ITEMS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The segments of one image.

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
    """

    task: str
    image: np.ndarray
    map: np.ndarray
    segments: tuple[Segment, ...]
    labels: Mapping[int, str]
    name: str | None = None
    _packed_masks: dict[int, bytes] | None = None  # of instances, by id, highest score first; masks may overlap

    @classmethod
    def from_semantic(
        cls, image: np.ndarray, class_map: np.ndarray, labels: Mapping[int, str], name: str | None = None
    ) -> "Segmentation":
        """Build a result from a semantic map.

        Args:
            image: (H, W, 3) uint8, RGB, the photo.
            class_map: (H, W) int32, the class id of each pixel.
            labels: names of all classes, by class id.
            name: the photo's file name or URL, if any.

        Returns:
            The result.
        """
        check_labels(labels)
        image, class_map = checked_image_and_map(image, "class_map", class_map)
        if class_map.min() < 0:
            raise InputError(f"class_map must hold classes from 0, got {class_map.min()}")
        areas = np.bincount(class_map.ravel())
        boxes = bounding_boxes(class_map + 1)  # which ignores 0
        segments = [
            Segment(class_id, class_id, _name(labels, class_id), None, int(areas[class_id]), boxes[class_id + 1])
            for class_id in np.argsort(-areas, kind="stable").tolist()
            if areas[class_id]
        ]
        return cls("semantic", image, class_map, tuple(segments), labels, name)

    @classmethod
    def from_panoptic(
        cls, image: np.ndarray, panoptic: PanopticResult, labels: Mapping[int, str], name: str | None = None
    ) -> "Segmentation":
        """Build a result from a panoptic segmentation.

        Args:
            image: (H, W, 3) uint8, RGB, the photo.
            panoptic: what `panoptic_segmentation` returned for it.
            labels: names of all classes, by class id.
            name: the photo's file name or URL, if any.

        Returns:
            The result.
        """
        if not isinstance(panoptic, PanopticResult):
            raise InputError(f"panoptic must be what panoptic_segmentation returned, got {shown(panoptic)}")
        check_labels(labels)
        image, ids = checked_image_and_map(image, "the segmentation", np.array(panoptic.segmentation))
        boxes = bounding_boxes(ids)
        if unseen := [found.id for found in panoptic.segments if found.id not in boxes]:
            raise InputError(f"the segmentation has no pixel of the segment {shown(unseen[0])}")
        segments = [
            Segment(
                found.id, found.label_id, _name(labels, found.label_id), found.score, found.area, boxes[found.id],
                queries=found.queries,
            )
            for found in panoptic.segments
        ]  # fmt: skip
        return cls("panoptic", image, ids, tuple(segments), labels, name)

    @classmethod
    def from_instances(
        cls,
        image: np.ndarray,
        instances: Instances,
        threshold: float,
        labels: Mapping[int, str],
        name: str | None = None,
    ) -> "Segmentation":
        """Build a result from instances. It keeps no array of the network.

        Args:
            image: (H, W, 3) uint8, RGB, the photo.
            instances: what `instance_segmentation` returned for it.
            threshold: minimum score of an instance.
            labels: names of all classes, by class id.
            name: the photo's file name or URL, if any.

        Returns:
            The result, without instances whose mask is empty.
        """
        if not hasattr(instances, "masks"):
            raise InputError(f"instances must be what instance_segmentation returned, got {shown(instances)}")
        check_value("threshold", threshold, float)
        check_labels(labels)
        image = checked_image(image)
        scores, label_ids = np.array(instances.scores), np.array(instances.label_ids).tolist()
        queries = getattr(instances, "queries", None)  # those that no network found have none
        found_by = [()] * len(scores) if queries is None else [(query,) for query in np.array(queries).tolist()]
        segments: list[Segment] = []
        packed_masks: dict[int, bytes] = {}
        for index in np.flatnonzero(scores >= threshold).tolist():
            mask = np.array(instances.masks([index])[0])
            area = int(np.count_nonzero(mask))
            if area:
                segment_id, label_id = len(segments) + 1, label_ids[index]
                box = bounding_boxes(mask.view(np.uint8))[1]
                label, score = _name(labels, label_id), float(scores[index])
                segments.append(Segment(segment_id, label_id, label, score, area, box, queries=found_by[index]))
                packed_masks[segment_id] = pack(mask)
        ids = _map_of_masks(packed_masks, image.shape[:2])
        return cls("instance", image, ids, tuple(segments), labels, name, packed_masks)

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
        shown = distinct_masks(_LazyMasks(self), [segment.score or 0.0 for segment in self.segments], self.image)
        return tuple(segment for index, segment in enumerate(self.segments) if index in shown)

    def only(self, labels: str | Collection[str]) -> "Segmentation":
        """Keep only the segments of some classes.

        Args:
            labels: one or more class names. Of a class with several names, such as "sofa, couch", any name will do.

        Returns:
            A new result with these segments.

        Raises:
            InputError: if the network has no class with such a name.
        """
        try:
            names = [labels] if isinstance(labels, str) else list(islice(labels, MAX_CLASSES))
        except TypeError:
            raise InputError(f"labels must be names of classes, got {shown(labels)}") from None
        label_ids = {label_id for name in names for label_id in find_label_ids(name, self.labels)}
        kept = tuple(segment for segment in self.segments if segment.label_id in label_ids)
        if self._packed_masks is not None:  # an instance may have been covered by one that is dropped
            packed_masks = {segment.id: self._packed_masks[segment.id] for segment in kept}
            ids = _map_of_masks(packed_masks, self.map.shape)
            return replace(self, segments=kept, map=ids, _packed_masks=packed_masks)
        visible = np.isin(self.map, [segment.id for segment in kept])
        return replace(self, segments=kept, map=np.where(visible, self.map, np.int32(VOID_IDS[self.task])))

    def draw(self, **options: Any) -> Image.Image:
        """Draw the segments over the photo; options as of `draw_semantic`, `draw_panoptic` or `draw_instances`."""
        if self.task == "semantic":
            return draw_semantic(self.image, self.map, self.labels, **options)
        if self.task == "panoptic":
            return draw_panoptic(self.image, self.map, self.segments, self.labels, **options)
        label_ids, scores = ([getattr(each, name) for each in self.segments] for name in ("label_id", "score"))
        return draw_instances(self.image, _LazyMasks(self), label_ids, scores, self.labels, **options)

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Draw the segments over the photo and write the image.

        Args:
            path: the file to write; its suffix determines the format. An existing file is replaced.
            **options: options of `draw`.

        Returns:
            The path, with "~" expanded.

        Raises:
            InputError: if the file cannot be written; an existing file is then unchanged.
        """
        target = local_path(path)
        image_format(target)  # checked before drawing, which takes longer
        return write_image(target, self.draw(**options))

    def to_mask(self) -> Image.Image:
        """Return the map as an image whose pixel values are the ids, with a palette so that it can be seen.

        Returns:
            An image (H, W) of 8 bits in which 255 stands for no segment; of 16 bits, in gray and with 65535, if ids
            need them.
        """
        if self.task == "semantic":  # classes have the same colors in all photos
            colors = class_colors(self.labels, self.labels)
        else:
            label_ids = [segment.label_id for segment in self.segments]
            shades = segment_colors(label_ids, class_colors(self.labels, set(label_ids)))
            colors = {segment.id: color for segment, color in zip(self.segments, shades, strict=True)}
        return export.ids_to_mask(self.map, VOID_IDS[self.task], colors)

    def to_coco(
        self, image_id: int = 1, first_id: int = 1, category_ids: Mapping[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """Return COCO annotations with compressed run-length encoding.

        Args:
            image_id: id of the image in the dataset.
            first_id: id of the first annotation.
            category_ids: the `category_id` of each class, as `Segmenter.category_ids` has it; None for the class id.

        Returns:
            An annotation for each segment, ready for JSON.

        Raises:
            InputError: if a class has no category.
        """
        check_value("image_id", image_id, int)
        check_value("first_id", first_id, int)
        check_value("category_ids", category_ids, Mapping | None)
        masks = map(self.mask, self.segments)
        return export.coco_annotations(self.segments, masks, image_id, first_id, category_ids)

    def to_coco_results(self, image_id: int = 1, category_ids: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
        """Return results for pycocotools' `loadRes`, which takes a list of those of all images.

        Args:
            image_id: id of the image in the dataset.
            category_ids: the `category_id` of each class, as `Segmenter.category_ids` has it; None for the class id.

        Returns:
            A result for each segment, ready for JSON; where there is no score it is 1.

        Raises:
            InputError: if a class has no category.
        """
        # Without boxes: where there are some, loadRes takes their areas for those of the masks.
        keys = ("image_id", "category_id", "segmentation")
        annotations = self.to_coco(image_id, category_ids=category_ids)
        return [{**{key: one[key] for key in keys}, "score": one.get("score", 1.0)} for one in annotations]

    def to_panoptic_png(
        self, image_id: int = 1, category_ids: Mapping[int, int] | None = None
    ) -> tuple[Image.Image, dict[str, Any]]:
        """Return COCO's panoptic PNG, whose colors are ids (red + 256 green + 65536 blue), and its annotation.

        Ids are those of the map. In a semantic map they are one more, since 0 stands for no segment in the PNG.

        Args:
            image_id: id of the image in the dataset.
            category_ids: the `category_id` of each class, as `Segmenter.category_ids` has it; None for the class id.

        Returns:
            The image, and the annotation, ready for JSON.

        Raises:
            InputError: if a class has no category.
        """
        check_value("image_id", image_id, int, 0, 10**12)
        check_value("category_ids", category_ids, Mapping | None)
        offset = 1 if self.task == "semantic" else 0
        ids = self.map + offset
        categories = {one.id + offset: export.category_id(one.label_id, category_ids) for one in self.segments}
        name = Path(self.name).with_suffix(".png").name if self.name else f"{image_id:012}.png"
        return export.ids_to_rgb(ids), export.panoptic_annotation(categories, ids, image_id, name)

    def to_labelme(self) -> dict[str, Any]:
        """Return labelme's JSON data: the photo, and a mask for each segment."""
        masks = map(self.mask, self.segments)
        return export.labelme_json(self.segments, masks, self.image, self.name or "image.png")

    def to_json(self) -> dict[str, Any]:
        """Return the task, the size and the segments without their masks, ready for JSON."""
        height, width = self.map.shape
        return {
            "image": self.name,
            "task": self.task,
            "width": width,
            "height": height,
            "segments": [export.segment_json(segment) for segment in self.segments],
        }

    def summary(self) -> str:
        """Return one line with the classes and how large (semantic) or how many they are."""
        if not self.segments:
            return "nothing found"
        if self.task == "semantic":
            items = [f"{segment.label} {segment.area / self.map.size:.0%}" for segment in self.segments]
        else:
            counts = Counter(segment.label for segment in self.distinct)
            items = [f"{count} {label}" if count > 1 else label for label, count in counts.items()]
        text = printable(", ".join(items[:MAX_SUMMARY_ITEMS]))
        if (more := len(items) - MAX_SUMMARY_ITEMS) > 0:
            text += f", and {more} more"
        if hidden := len(self.segments) - len(self.distinct):
            text += f" ({hidden} near-duplicate{'s' if hidden > 1 else ''} not shown)"
        return text

    def __repr__(self) -> str:
        height, width = self.map.shape
        of = f" of {printable(self.name)}" if self.name else ""
        return f"<{self.task} segmentation{of}, {width}x{height}: {self.summary()}>"

    def _repr_png_(self) -> bytes:
        """Return the PNG that notebooks show."""
        image = self.draw()
        image.thumbnail((MAX_NOTEBOOK_SIZE, MAX_NOTEBOOK_SIZE))
        return encode_image(image, "PNG")


@dataclass(frozen=True)
class _LazyMasks:
    """A sequence of a result's masks; each is decompressed when it is indexed."""

    result: Segmentation

    def __len__(self) -> int:
        return len(self.result.segments)

    def __getitem__(self, index: int, /) -> np.ndarray:
        return self.result.mask(self.result.segments[index])


def _name(labels: Mapping[int, str], label_id: int) -> str:
    if label_id not in labels:
        raise InputError(f"labels has no name for the class {label_id}; it needs one for each class in the image")
    return labels[label_id]


def _map_of_masks(packed_masks: dict[int, bytes], shape: tuple[int, ...]) -> np.ndarray:
    """Return the map of ids, (H, W) int32, of masks that may overlap; the first is on top."""
    ids = np.zeros(shape, np.int32)
    for segment_id, packed in reversed(packed_masks.items()):
        ids[unpack(packed, shape)] = segment_id
    return ids

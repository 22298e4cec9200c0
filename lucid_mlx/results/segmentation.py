"""The result of a segmentation: a map, its segments, and methods to draw, save and export them."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing import Instances, PanopticResult
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.postprocessing.instance import InstanceCandidates
from lucid_mlx.postprocessing.panoptic import PanopticCandidates
from lucid_mlx.preprocessing.read_image import ImageLike
from lucid_mlx.results.exports import Exports
from lucid_mlx.results.find_labels import find_label_ids
from lucid_mlx.results.notebook import segments_html
from lucid_mlx.results.packed_mask import pack
from lucid_mlx.results.segment import Segment
from lucid_mlx.results.segmented_image import VOID_IDS, LazyMasks, map_of_masks
from lucid_mlx.results.stored import read_result, write_result
from lucid_mlx.utils.files import encode_image, image_format, local_path, write_image
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.utils.validation import MAX_CLASSES, check_value
from lucid_mlx.visualization.colors import check_labels
from lucid_mlx.visualization.cutout import Background, blur_behind, cut_out, matte, put_before
from lucid_mlx.visualization.draw import draw_instances, draw_panoptic, draw_semantic
from lucid_mlx.visualization.overlay import bounding_boxes, checked_image, checked_image_and_map

MAX_NOTEBOOK_SIZE = 1600  # longer side of the image in a notebook, in pixels
MAX_SUMMARY_ITEMS = 8
MAX_RADIUS = 10_000  # of a blur, in pixels
BLUR = 0.02  # of the longer side: the default radius


class Segmentation(Exports):
    """The segments of one image; its data are those of `SegmentedImage`."""

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
        return cls("panoptic", image, ids, tuple(segments), labels, name, _candidates=panoptic.candidates)

    @classmethod
    def from_instances(
        cls,
        image: np.ndarray,
        instances: Instances | InstanceCandidates,
        threshold: float,
        labels: Mapping[int, str],
        name: str | None = None,
        *,
        keep_candidates: bool = False,
    ) -> "Segmentation":
        """Build a result from instances. It keeps no array of MLX.

        Args:
            image: (H, W, 3) uint8, RGB, the photo.
            instances: what `instance_segmentation` returned for it.
            threshold: minimum score of an instance.
            labels: names of all classes, by class id.
            name: the photo's file name or URL, if any.
            keep_candidates: keep all instances, for `with_threshold`.

        Returns:
            The result, without instances whose mask is empty.
        """
        if not hasattr(instances, "masks"):
            raise InputError(f"instances must be what instance_segmentation returned, got {shown(instances)}")
        check_value("threshold", threshold, float)
        check_value("keep_candidates", keep_candidates, bool)
        check_labels(labels)
        if keep_candidates and isinstance(instances, Instances):
            instances = instances.candidates()
        candidates = instances if keep_candidates and isinstance(instances, InstanceCandidates) else None
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
        ids = map_of_masks(packed_masks, image.shape[:2])
        return cls("instance", image, ids, tuple(segments), labels, name, packed_masks, _candidates=candidates)

    def only(self, which: str | Segment | Collection[str | Segment]) -> "Segmentation":
        """Keep some segments.

        Args:
            which: one or more of them, or names of classes, for all segments of these. Of a class with several names,
                such as "sofa, couch", any name will do.

        Returns:
            A new result with these segments. `with_threshold` comes before this: the new result cannot.

        Raises:
            InputError: if the network has no class with such a name, or the result no such segment.
        """
        try:
            wanted = [which] if isinstance(which, str | Segment) else list(islice(which, MAX_CLASSES))
        except TypeError:
            raise InputError(f"segments or names of classes are expected, got {shown(which)}") from None
        chosen = [one for one in wanted if isinstance(one, Segment)]
        if unknown := [one for one in chosen if one not in self.segments]:
            raise InputError(f"the result has no such segment: {shown(unknown[0])}")
        names = [one for one in wanted if not isinstance(one, Segment)]
        label_ids = {label_id for name in names for label_id in find_label_ids(name, self.labels)}
        kept = tuple(one for one in self.segments if one.label_id in label_ids or one in chosen)
        if self._packed_masks is not None:  # an instance may have been covered by one that is dropped
            packed_masks = {segment.id: self._packed_masks[segment.id] for segment in kept}
            ids = map_of_masks(packed_masks, self.map.shape)
            return replace(self, segments=kept, map=ids, _packed_masks=packed_masks, _candidates=None)
        visible = np.isin(self.map, [segment.id for segment in kept])
        ids = np.where(visible, self.map, np.int32(VOID_IDS[self.task]))
        return replace(self, segments=kept, map=ids, _candidates=None)

    def with_threshold(self, threshold: float) -> "Segmentation":
        """Return what the `Segmenter` would return for this photo with another threshold, without the network.

        It needs `Segmenter(..., keep_candidates=True)`: each result then keeps the mask logits of whatever may become
        a segment, at a quarter of the network's input along each side: 0.2 MB for a query at 800x1088, and half of it
        in float16. In a panoptic segmentation these are the queries whose likeliest class is an object, in an instance
        segmentation those among the `top_k` pairs; at most all that the network has, often 100. For comparison, the
        photo and the map of a megapixel take 7 MB.

        Args:
            threshold: minimum score of a segment, 0 to 1.

        Returns:
            A new result, which can do this again. The mask of a segment and the other thresholds are as before.

        Raises:
            InputError: if the result keeps no candidates, or is semantic, where every pixel gets a class.
        """
        check_value("threshold", threshold, float, 0, 1)
        if self.task == "semantic":
            raise InputError("semantic segmentation takes no threshold: every pixel gets a class")
        if isinstance(self._candidates, PanopticCandidates):
            found = self._candidates.segment(threshold)
            result = Segmentation.from_panoptic(self.image, found, self.labels, self.name)
        elif isinstance(self._candidates, InstanceCandidates):
            result = Segmentation.from_instances(
                self.image, self._candidates, threshold, self.labels, self.name, keep_candidates=True
            )
        else:
            raise InputError(
                "this result keeps nothing of what is below its threshold: segment with Segmenter(..., "
                "keep_candidates=True), and call with_threshold before only; a file keeps none either"
            )
        return replace(result, thresholds=replace(self.thresholds or Thresholds(), threshold=threshold))

    def draw(self, **options: Any) -> Image.Image:
        """Draw the segments over the photo; options as of `draw_semantic`, `draw_panoptic` or `draw_instances`."""
        if self.task == "semantic":
            return draw_semantic(self.image, self.map, self.labels, **options)
        if self.task == "panoptic":
            return draw_panoptic(self.image, self.map, self.segments, self.labels, **options)
        label_ids, scores = ([getattr(each, name) for each in self.segments] for name in ("label_id", "score"))
        return draw_instances(self.image, LazyMasks(self), label_ids, scores, self.labels, **options)

    def cutout(self, *, feather: float = 0.0, crop: bool = False) -> Image.Image:
        """Cut the segments out: `result.only("person").cutout()`.

        Args:
            feather: softness of the edge in pixels, the standard deviation of a Gaussian blur.
            crop: leave out what is around the segments.

        Returns:
            An RGBA image, transparent around the segments; of the photo's size, or of that of the segments' box.

        Raises:
            InputError: if there is no segment to crop to.
        """
        picture = cut_out(self.image, self.matte(feather=feather))
        if not crop:
            return picture
        if not self.segments:
            raise InputError("there is no segment to crop to")
        box = picture.getchannel("A").getbbox()  # with the soft edge
        return picture.crop(box)

    def matte(self, *, feather: float = 0.0) -> Image.Image:
        """Return an image in gray, (H, W): 255 where a segment is, 0 elsewhere; `feather` as of `cutout`."""
        check_value("feather", feather, float, 0, MAX_RADIUS)
        return matte(self._visible, feather)

    def blur_background(self, radius: float | None = None, *, feather: float = 0.0) -> Image.Image:
        """Blur what is around the segments: `result.only("person").blur_background()`.

        Args:
            radius: of the blur in pixels, the standard deviation of a Gaussian; None for 2 % of the longer side.
            feather: as of `cutout`.

        Returns:
            An RGB image of the photo's size.
        """
        check_value("radius", radius, float | None, 0, MAX_RADIUS)
        radius = BLUR * max(self.map.shape) if radius is None else radius
        return blur_behind(self.image, self._visible, self.matte(feather=feather), radius)

    def replace_background(self, background: Background, *, feather: float = 0.0) -> Image.Image:
        """Put the segments before something else: `result.only("person").replace_background("white")`.

        Args:
            background: a color, as Pillow names them or (red, green, blue), or a picture, of Pillow or (H, W, 3)
                uint8, which is scaled until it fills the photo, and cut in the middle.
            feather: as of `cutout`.

        Returns:
            An RGB image of the photo's size.

        Raises:
            InputError: if the background is no color and no picture.
        """
        return put_before(self.image, self.matte(feather=feather), background)

    @property
    def _visible(self) -> np.ndarray:
        """Where a segment is, (H, W) bool."""
        return self.map != VOID_IDS[self.task]

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write a picture of the segments over the photo, or into a `.json` file the result itself, for `load`.

        The result itself is all but the candidates for `with_threshold`: the segments, their masks as run lengths, the
        labels, thresholds, name, and the photo.

        Args:
            path: the file to write; its suffix determines the format. An existing file is replaced.
            **options: of a picture those of `draw`. Of the result itself `photo=False` leaves the photo out.

        Returns:
            The path, with "~" expanded.

        Raises:
            InputError: if the file cannot be written; an existing file is then unchanged.
        """
        target = local_path(path)
        if target.suffix.lower() == ".json":
            return write_result(target, self, **options)
        image_format(target)  # checked before drawing, which takes longer
        return write_image(target, self.draw(**options))

    @classmethod
    def load(cls, path: str | PathLike[str], image: ImageLike | None = None) -> "Segmentation":
        """Read a result that `save` wrote into a `.json` file.

        Args:
            path: the file.
            image: the photo, whatever `read_image` takes; needed if the file was written without it.

        Returns:
            The result. Of candidates for `with_threshold` it has none.

        Raises:
            InputError: if the file cannot be read, or is damaged, or the photo is missing or has another size.
        """
        return cls(**read_result(local_path(path), image))

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

    def _repr_html_(self) -> str:
        """Return the picture and the table that notebooks show."""
        return segments_html(repr(self)[1:-1], self.draw(), self.segments, self.map.size)


def _name(labels: Mapping[int, str], label_id: int) -> str:
    if label_id not in labels:
        raise InputError(f"labels has no name for the class {label_id}; it needs one for each class in the image")
    return labels[label_id]

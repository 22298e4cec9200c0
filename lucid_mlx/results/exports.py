"""A result's exports to other tools, each a method; how a format is written stands in a module of its own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lucid_mlx.results import detections, export, geojson, table, yolo
from lucid_mlx.results.polygons import Polygon, mask_polygons
from lucid_mlx.results.segmented_image import VOID_IDS, SegmentedImage
from lucid_mlx.utils.validation import check_value
from lucid_mlx.visualization.colors import class_colors, segment_colors

if TYPE_CHECKING:
    import pandas
    import supervision


class Exports(SegmentedImage):
    """The segments of one image, in the formats of other tools."""

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

    def to_polygons(self, tolerance: float = 0.0) -> list[list[Polygon]]:
        """Return the outlines of each segment.

        They run halfway between the centers of pixels inside and outside. Without a tolerance a pixel is in the mask
        exactly if its center lies inside of a polygon and in no hole, so that drawing them gives the mask again, and a
        polygon's area is its number of pixels less 0.5, and 0.5 more for each hole.

        Args:
            tolerance: how far a simplified outline may be from the exact one, in pixels; 0 for the exact one.
                Simplified rings may cross.

        Returns:
            For each segment a polygon for each connected part, and of a polygon a list of rings: the outer one, then
            holes. A ring is (N, 2) float64, x and y in pixels from the top left corner of the photo; its first point
            is not repeated at its end.
        """
        return list(self._polygons(tolerance))

    def _polygons(self, tolerance: float) -> Iterator[list[Polygon]]:
        check_value("tolerance", tolerance, float, 0)
        return (mask_polygons(self.mask(segment), segment.box, tolerance) for segment in self.segments)

    def to_geojson(self, tolerance: float = 0.0) -> dict[str, Any]:
        """Return a GeoJSON FeatureCollection (RFC 7946) in pixels: x to the right, y down from the top left corner.

        Outer rings are counterclockwise by the numbers of their points, as the RFC wants it; with y down they run
        clockwise on the photo.

        Args:
            tolerance: as of `to_polygons`.

        Returns:
            A feature for each segment, with its label, score, area and box as properties; ready for JSON.
        """
        return geojson.feature_collection(self.segments, self._polygons(tolerance))

    def to_yolo(self, tolerance: float = 0.0) -> str:
        """Return the text of a label file for YOLO's segmentation networks, a line for each segment.

        A line has the class id and one outline, x and y from 0 to 1. Parts and holes are joined to it by lines of no
        width, so that holes are empty where it is filled by the even-odd rule, as OpenCV does.

        Args:
            tolerance: as of `to_polygons`.

        Returns:
            The text; the names of the classes, by id, belong into the data set's YAML file.
        """
        return yolo.yolo_lines(self.segments, self._polygons(tolerance), self.map.shape)

    def to_csv(self, header: bool = True) -> str:
        """Return a table of the segments as comma-separated values, with the columns of `to_pandas`.

        Args:
            header: begin with the names of the columns; leave them out to append a photo to others.

        Returns:
            The text.
        """
        return table.to_csv(self.segments, self.name, header)

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a table of the segments: image, id, label_id, label, score, area, left, top, right, bottom.

        Returns:
            A row for each segment; the score is NaN where there is none. Right and bottom are exclusive.

        Raises:
            InputError: if pandas is not installed: `pip install 'lucid-mlx[exports]'`.
        """
        return table.to_pandas(self.segments, self.name)

    def to_supervision(self) -> "supervision.Detections":
        """Return Roboflow's `supervision.Detections`, as its `from_transformers` makes them.

        Returns:
            The detections in the order of `segments`: `xyxy` with the last pixels inclusive, `mask`, `class_id`,
            `confidence` (None in a semantic segmentation), and `data["class_name"]`.

        Raises:
            InputError: if supervision is not installed: `pip install 'lucid-mlx[exports]'`.
        """
        return detections.to_detections(self.segments, self.masks)

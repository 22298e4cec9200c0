"""Segments in the formats of other tools: COCO, labelme, JSON and images of ids."""

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from lucid_mlx.errors import InputError
from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.files import encode_image
from lucid_mlx.visualization.colors import Color
from lucid_mlx.visualization.overlay import Box, bounding_boxes


def segment_json(segment: Segment) -> dict[str, Any]:
    """Return a segment as JSON data; the box is [left, top, right, bottom]."""
    return {
        "id": segment.id,
        "label_id": segment.label_id,
        "label": segment.label,
        "score": None if segment.score is None else round(segment.score, 6),
        "area": segment.area,
        "box": list(segment.box),
    }


def coco_annotations(
    segments: Sequence[Segment],
    masks: Iterable[np.ndarray],
    image_id: int,
    first_id: int,
    category_ids: Mapping[int, int] | None,
) -> list[dict[str, Any]]:
    """Return COCO annotations with compressed run-length encoding (RLE).

    Args:
        segments: the segments.
        masks: their masks, (H, W) bool each.
        image_id: id of the image in the dataset.
        first_id: id of the first annotation.
        category_ids: the category of each class; None for the class id.

    Returns:
        An annotation for each segment; its `bbox` is [left, top, width, height].
    """
    annotations = []
    for annotation_id, (segment, mask) in enumerate(zip(segments, masks, strict=True), first_id):
        rle = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))
        annotation = {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": category_id(segment.label_id, category_ids),
            "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")},
            "area": segment.area,
            "bbox": _xywh(segment.box),
            "iscrowd": 0,
        }
        annotations.append(annotation if segment.score is None else {**annotation, "score": segment.score})
    return annotations


def coco_categories(
    labels: Mapping[int, str], thing_ids: Collection[int] | None = None, category_ids: Mapping[int, int] | None = None
) -> list[dict[str, Any]]:
    """Return the categories of a COCO file; `Segmenter` has all three arguments.

    Args:
        labels: names of the classes, by class id.
        thing_ids: the classes that have countable objects (`isthing`); None for all.
        category_ids: the category of each class, as `Segmenter.category_ids` has it; None for the class id.

    Returns:
        A category for each class, ready for JSON.

    Raises:
        InputError: if a class has no category.
    """
    return [
        {
            "id": category_id(class_id, category_ids),
            "name": name,
            "isthing": int(thing_ids is None or class_id in thing_ids),
        }
        for class_id, name in labels.items()
    ]


def category_id(class_id: int, category_ids: Mapping[int, int] | None) -> int:
    """Return the category of a class.

    Args:
        class_id: id of the class.
        category_ids: the category of each class; None for the class id.

    Returns:
        The id of the category.

    Raises:
        InputError: if the class has none.
    """
    if category_ids is None:
        return class_id
    if class_id not in category_ids:
        raise InputError(f"category_ids has no category for the class {class_id}; it needs one for each class")
    return category_ids[class_id]


def _xywh(box: Box) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def ids_to_rgb(ids: np.ndarray) -> Image.Image:
    """Encode a map of ids, (H, W) int, as colors: red + 256 green + 65536 blue, as in COCO's panoptic PNG files."""
    channels = [(ids >> shift) & 255 for shift in (0, 8, 16)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def ids_to_mask(ids: np.ndarray, void_id: int, colors: Mapping[int, Color]) -> Image.Image:
    """Encode a map of ids as an image whose pixel values are the ids.

    Args:
        ids: (H, W) int.
        void_id: id of pixels without a segment; they get the highest value, and are black.
        colors: the color in which viewers show each id.

    Returns:
        An image with a palette, of 8 bits, if all ids are below 255; else one of 16 bits, in gray.

    Raises:
        InputError: if an id does not fit into 16 bits.
    """
    highest = ids.max(initial=0)
    if highest >= np.iinfo(np.uint16).max:
        raise InputError(f"a mask image holds ids below 65535, got {highest}")
    dtype = np.uint8 if highest < 255 else np.uint16
    values = ids.astype(dtype)
    values[ids == void_id] = np.iinfo(dtype).max
    image = Image.fromarray(values)
    if dtype == np.uint8:
        table = np.zeros((256, 3), np.uint8)
        for segment_id, color in colors.items():
            if segment_id < 255:
                table[segment_id] = color
        image.putpalette(table.tobytes())
    return image


def panoptic_annotation(category_ids: Mapping[int, int], ids: np.ndarray, image_id: int, name: str) -> dict[str, Any]:
    """Return COCO's panoptic annotation of an image that `ids_to_rgb` made.

    Areas and boxes are those of the visible pixels: an instance that is partly covered by others has a smaller area
    than its mask, and one that is fully covered is left out.

    Args:
        category_ids: from a segment's id to its category.
        ids: (H, W) int32, the map of ids.
        image_id: id of the image in the dataset.
        name: name of the PNG file.

    Returns:
        The annotation.
    """
    areas = np.bincount(ids.ravel())
    return {
        "image_id": image_id,
        "file_name": name,
        "segments_info": [
            {
                "id": segment_id,
                "category_id": category_ids[segment_id],
                "area": int(areas[segment_id]),
                "bbox": _xywh(box),
                "iscrowd": 0,
            }
            for segment_id, box in bounding_boxes(ids).items()
        ],
    }


def labelme_json(
    segments: Sequence[Segment], masks: Iterable[np.ndarray], image: np.ndarray, name: str
) -> dict[str, Any]:
    """Return the JSON data of labelme 5.2 and newer: the photo, and each mask as a PNG of its box.

    Args:
        segments: the segments.
        masks: their masks, (H, W) bool each.
        image: (H, W, 3) uint8, RGB, the photo.
        name: the photo's file name.

    Returns:
        The JSON data.
    """
    shapes = []
    for segment, mask in zip(segments, masks, strict=True):
        left, top, right, bottom = segment.box
        shapes.append(
            {
                "label": segment.label,
                "points": [[left, top], [right - 1, bottom - 1]],
                "group_id": segment.id,
                "description": "",
                "shape_type": "mask",
                "flags": {},
                "mask": _base64_png(mask[top:bottom, left:right]),
            }
        )
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": _base64_png(image),  # as labelme itself writes; without it imagePath must be valid from the JSON
        "imageHeight": image.shape[0],
        "imageWidth": image.shape[1],
    }


def _base64_png(pixels: np.ndarray) -> str:
    return base64.b64encode(encode_image(Image.fromarray(pixels), "PNG")).decode("ascii")

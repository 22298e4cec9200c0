"""Segments in the forms that other tools read."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from lucid_mlx.errors import InputError
from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.atomic_write import encode_picture
from lucid_mlx.visualization.overlay import Box, boxes


def segment_json(segment: Segment) -> dict[str, Any]:
    """Return a segment as JSON has it; the box as left, top, right, bottom."""
    return {
        "id": segment.id,
        "label_id": segment.label_id,
        "label": segment.label,
        "score": None if segment.score is None else round(segment.score, 6),
        "area": segment.area,
        "box": list(segment.box),
    }


def coco_annotations(
    segments: Sequence[Segment], masks: Iterable[np.ndarray], image_id: int, first_id: int
) -> list[dict[str, Any]]:
    """Return COCO annotations with compressed run lengths (pycocotools); boxes are left, top, width, height there."""
    annotations = []
    for number, (segment, mask) in enumerate(zip(segments, masks, strict=True), first_id):
        runs = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))
        annotation = {
            "id": number,
            "image_id": image_id,
            "category_id": segment.label_id,
            "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
            "area": segment.area,
            "bbox": _corner_and_size(segment.box),
            "iscrowd": 0,
        }
        annotations.append(annotation if segment.score is None else {**annotation, "score": segment.score})
    return annotations


def _corner_and_size(box: Box) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def panoptic_picture(ids: np.ndarray) -> Image.Image:
    """Return ids as colors, red + 256 green + 65536 blue (COCO's panoptic format); 0 is nothing."""
    channels = [(ids >> shift) & 255 for shift in (0, 8, 16)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def panoptic_annotation(label_ids: Mapping[int, int], ids: np.ndarray, image_id: int, name: str) -> dict[str, Any]:
    """Return the annotation that goes with `panoptic_picture`.

    It tells what the picture shows: an instance that others cover in part is smaller there than its mask, and one
    that they cover altogether is left out.

    Args:
        label_ids: the class of each id.
        ids: (H, W) int32, those of the picture.
        image_id: the image's number in the dataset.
        name: of the picture's file.
    """
    areas = np.bincount(ids.ravel())
    return {
        "image_id": image_id,
        "file_name": name,
        "segments_info": [
            {
                "id": number,
                "category_id": label_ids[number],
                "area": int(areas[number]),
                "bbox": _corner_and_size(box),
                "iscrowd": 0,
            }
            for number, box in boxes(ids).items()
        ],
    }


def labelme(segments: Sequence[Segment], masks: Iterable[np.ndarray], image: np.ndarray, name: str) -> dict[str, Any]:
    """Return labelme's JSON: the photo, and each mask as a picture of its box (labelme 5.2 and newer)."""
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
        "imageData": _base64_png(image),  # as labelme itself does: a path would have to lead there from the JSON
        "imageHeight": image.shape[0],
        "imageWidth": image.shape[1],
    }


def _base64_png(pixels: np.ndarray) -> str:
    return base64.b64encode(encode_picture(Image.fromarray(pixels), "PNG")).decode("ascii")


def mask_picture(ids: np.ndarray, nothing: int) -> Image.Image:
    """Return ids as gray values: 8 bits if they fit below 255, else 16; the highest value where nothing is."""
    kind = np.uint8 if ids.max(initial=0) < 255 else np.uint16
    if ids.max(initial=0) >= np.iinfo(np.uint16).max:
        raise InputError(f"a mask picture holds ids below 65535, got {ids.max()}")
    return Image.fromarray(np.where(ids == nothing, np.iinfo(kind).max, ids).astype(kind))

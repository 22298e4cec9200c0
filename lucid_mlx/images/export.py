"""Segments in the forms that other tools read."""

import base64
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.images.segment import Box, Segment

MaskOf = Callable[[Segment], np.ndarray]


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
    segments: Sequence[Segment], mask_of: MaskOf, image_id: int, first_id: int
) -> list[dict[str, Any]]:
    """Return COCO annotations with compressed run lengths (pycocotools); boxes are left, top, width, height there."""
    from pycocotools import mask as coco_mask

    annotations = []
    for number, segment in enumerate(segments, first_id):
        runs = coco_mask.encode(np.asfortranarray(mask_of(segment).astype(np.uint8)))
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
    """Return ids as colours, red + 256 green + 65536 blue (COCO's panoptic format); 0 is nothing."""
    channels = [(ids >> shift) & 255 for shift in (0, 8, 16)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def panoptic_annotation(segments: Sequence[Segment], shift: int, name: str | None) -> dict[str, Any]:
    """Return the annotation that goes with `panoptic_picture`, whose ids are the segments' and `shift`."""
    return {
        "file_name": None if name is None else Path(name).with_suffix(".png").name,
        "segments_info": [
            {
                "id": segment.id + shift,
                "category_id": segment.label_id,
                "area": segment.area,
                "bbox": [
                    segment.box[0],
                    segment.box[1],
                    segment.box[2] - segment.box[0],
                    segment.box[3] - segment.box[1],
                ],
                "iscrowd": 0,
            }
            for segment in segments
        ],
    }


def labelme(segments: Sequence[Segment], mask_of: MaskOf, shape: tuple[int, ...], name: str | None) -> dict[str, Any]:
    """Return labelme's JSON: each mask as a picture of its box (labelme 5.2 and newer)."""
    shapes = []
    for segment in segments:
        left, top, right, bottom = segment.box
        buffer = BytesIO()
        Image.fromarray(mask_of(segment)[top:bottom, left:right]).save(buffer, "PNG")
        shapes.append(
            {
                "label": segment.label,
                "points": [[left, top], [right - 1, bottom - 1]],
                "group_id": segment.id,
                "description": "",
                "shape_type": "mask",
                "flags": {},
                "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
            }
        )
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": shape[0],
        "imageWidth": shape[1],
    }


def mask_picture(ids: np.ndarray, nothing: int) -> Image.Image:
    """Return ids as gray values: 8 bits if they fit below 255, else 16; the highest value where nothing is."""
    kind = np.uint8 if ids.max(initial=0) < 255 else np.uint16
    if ids.max(initial=0) >= np.iinfo(np.uint16).max:
        raise InputError(f"a mask picture holds ids below 65535, got {ids.max()}")
    return Image.fromarray(np.where(ids == nothing, np.iinfo(kind).max, ids).astype(kind))


def picture_file(picture: Image.Image, path: Path) -> bytes:
    """Return a picture as a file of the format that the path's ending names.

    Raises:
        InputError: if no format has that ending, or it cannot hold the picture.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(f"{path} does not name a picture format; expected an ending like .png or .jpg")
    buffer = BytesIO()
    try:
        picture.save(buffer, kind)
    except (OSError, ValueError) as error:  # such as a picture too large for the format
        raise InputError(f"{path} cannot be written: {error}") from error
    return buffer.getvalue()

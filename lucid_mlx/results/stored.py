"""A result in a JSON file, from which it can be read again: masks as run lengths, and the photo, if wanted."""

import base64
import binascii
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import read_image
from lucid_mlx.preprocessing.read_image import ImageLike
from lucid_mlx.results.packed_mask import pack
from lucid_mlx.results.segment import Segment
from lucid_mlx.results.segmented_image import VOID_IDS, SegmentedImage, map_of_masks
from lucid_mlx.utils.files import encode_image, read_json, write_file
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_ID, check_choice, check_image_size, check_value, check_values
from lucid_mlx.visualization.colors import check_labels
from lucid_mlx.visualization.overlay import bounding_boxes

FORMAT = "lucid-mlx segmentation"
VERSION = 1


def write_result(path: Path, result: SegmentedImage, photo: bool = True) -> Path:
    """Write a result to a JSON file, completely or not at all.

    Args:
        path: the file; an existing one is replaced.
        result: what to write.
        photo: whether the file holds the photo too.

    Returns:
        The path.

    Raises:
        InputError: if the file cannot be written; an existing one is then unchanged.
    """
    return write_file(path, json.dumps(result_json(result, photo)).encode())


def result_json(result: SegmentedImage, photo: bool = True) -> dict[str, Any]:
    """Return what the file of a result holds, ready for JSON.

    Args:
        result: the result.
        photo: whether it holds the photo too, as a PNG in base64.

    Returns:
        The data.
    """
    check_value("photo", photo, bool)
    height, width = result.map.shape
    return {
        "format": FORMAT,
        "version": VERSION,
        "task": result.task,
        "name": result.name,
        "width": width,
        "height": height,
        "thresholds": None if result.thresholds is None else asdict(result.thresholds),
        "labels": {str(label_id): label for label_id, label in result.labels.items()},
        "segments": [
            {**asdict(one), "segmentation": {"size": [height, width], "counts": run_lengths(result.mask(one))}}
            for one in result.segments
        ],
        "photo": base64.b64encode(encode_image(Image.fromarray(result.image), "PNG")).decode() if photo else None,
    }


def read_result(path: Path, image: ImageLike | None) -> dict[str, Any]:
    """Read what `write_result` wrote.

    Args:
        path: the file.
        image: the photo, for a file that does not hold it: whatever `read_image` takes.

    Returns:
        The arguments of `Segmentation`.

    Raises:
        InputError: if the file cannot be read or is damaged, or there is no photo of its size.
    """
    data = read_json(path, f"a result that `Segmentation.save` wrote, in JSON ({FORMAT})", None)
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise InputError(
            f"{path} is no result that `Segmentation.save` wrote: expected format {FORMAT!r}, version {VERSION}, got "
            f"{shown(data.get('format'))}, version {shown(data.get('version'))}"
        )
    try:
        return _arguments(data, image)
    except KeyError as error:
        raise InputError(f"{path} is damaged: it has no {shown(error.args[0])}") from None
    except TypeError as error:  # such as a list in the place of a segment
        raise InputError(f"{path} is damaged: {error}") from None
    except (ValueError, InputError) as error:
        raise InputError(f"{path} cannot be used: {error}") from error


def _arguments(data: dict[str, Any], image: ImageLike | None) -> dict[str, Any]:
    task, name, thresholds = data["task"], data["name"], data["thresholds"]
    check_choice("task", task, TASKS)
    check_values(
        ("name", name, str | None),
        ("width", data["width"], int, 1),
        ("height", data["height"], int, 1),
        ("thresholds", thresholds, dict | None),
        ("labels", data["labels"], dict),
        ("segments", data["segments"], list),
        ("photo", data["photo"], str | None),
    )
    shape = data["height"], data["width"]
    check_image_size(data["width"], data["height"], "the photo")
    labels = {int(label_id): label for label_id, label in data["labels"].items()}
    check_labels(labels)
    segments, ids, packed_masks = _segments(task, data["segments"], labels, shape)
    return {
        "task": task,
        "image": _photo(data["photo"], image, shape),
        "map": ids,
        "segments": segments,
        "labels": labels,
        "name": name,
        "thresholds": None if thresholds is None else Thresholds(**thresholds),
        "_packed_masks": packed_masks,
    }


def _segments(
    task: str, stored: list[Any], labels: dict[int, str], shape: tuple[int, int]
) -> tuple[tuple[Segment, ...], np.ndarray, dict[int, bytes] | None]:
    """Return the segments, the map of ids, and of instances the compressed masks."""
    ids = np.full(shape, VOID_IDS[task], np.int32)
    segments: list[Segment] = []
    packed_masks: dict[int, bytes] = {}
    for one in stored:
        mask = mask_of_runs(one["segmentation"]["counts"], shape)
        segment = _segment(one, labels, mask)
        if segment.id in packed_masks or segment.id == VOID_IDS[task]:
            raise ValueError(f"there are two segments {segment.id}, or that id stands for no segment")
        if task == "semantic" and segment.id != segment.label_id:
            raise ValueError(f"the segment {segment.id} of a semantic map has another class, {segment.label_id}")
        if task != "instance" and (ids[mask] != VOID_IDS[task]).any():
            raise ValueError(f"the segment {segment.id} overlaps another one, which only instances do")
        ids[mask] = segment.id
        segments.append(segment)
        packed_masks[segment.id] = pack(mask) if task == "instance" else b""
    if task == "instance":
        return tuple(segments), map_of_masks(packed_masks, shape), packed_masks
    return tuple(segments), ids, None


def _segment(stored: dict[str, Any], labels: dict[int, str], mask: np.ndarray) -> Segment:
    """Return a segment; what the mask says is taken from the mask."""
    check_values(
        ("a segment's id", stored["id"], int, 0, MAX_ID),
        ("a segment's label_id", stored["label_id"], int),
        ("a segment's score", stored["score"], float | None),
        ("a segment's track_id", stored["track_id"], int | None),
        ("a segment's queries", stored["queries"], list[int]),
    )
    if not mask.any():
        raise ValueError(f"the segment {stored['id']} has no pixel")
    return Segment(
        stored["id"], stored["label_id"], labels[stored["label_id"]], stored["score"], int(np.count_nonzero(mask)),
        bounding_boxes(mask.view(np.uint8))[1], stored["track_id"], tuple(stored["queries"]),
    )  # fmt: skip


def _photo(stored: str | None, image: ImageLike | None, shape: tuple[int, int]) -> np.ndarray:
    """Return the photo, from the file or as it was passed."""
    size = f"{shape[1]}x{shape[0]}"
    if image is not None:
        pixels = read_image(image)
    elif stored is not None:
        try:
            pixels = read_image(base64.b64decode(stored, validate=True))
        except binascii.Error:
            raise ValueError("its photo is not in base64") from None
    else:
        raise ValueError(f"it was saved without its photo, of {size} pixels; pass that too: load(path, image=...)")
    if pixels.shape[:2] != shape:
        raise ValueError(f"the photo has {pixels.shape[1]}x{pixels.shape[0]} pixels, expected {size}")
    return pixels


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return a mask as COCO's uncompressed run lengths.

    Args:
        mask: (H, W) bool.

    Returns:
        How many pixels follow each other down the columns outside, inside, outside and so on; the first may be 0.
    """
    pixels = mask.ravel(order="F")
    starts = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs: list[int] = np.diff(starts, prepend=0, append=len(pixels)).tolist()
    return [0, *runs] if pixels[0] else runs


def mask_of_runs(counts: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask of COCO's uncompressed run lengths.

    Args:
        counts: what `run_lengths` returned.
        shape: the mask's shape, (H, W).

    Returns:
        (H, W) bool.

    Raises:
        InputError: if they are not run lengths of that shape.
    """
    check_value("run lengths", counts, list[int], 0, shape[0] * shape[1])
    if sum(counts) != shape[0] * shape[1]:
        raise InputError(f"run lengths must add up to {shape[0] * shape[1]} pixels, got {shown(sum(counts))}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, counts).reshape(shape[::-1]).T)

"""The formats of `lucid-mlx segment`: what each adds to a photo's name, and how a result is encoded in it."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.results.segmentation import Segmentation
from lucid_mlx.results.stored import result_json
from lucid_mlx.utils.files import encode_image
from lucid_mlx.visualization.cutout import Background, is_color
from lucid_mlx.visualization.strips import write_overlay


@dataclass(frozen=True)
class PictureOptions:
    """How pictures look.

    Attributes:
        opacity: of the overlay.
        things: classes that are cut out; None for all. What `--labels` has left is all that there is.
        feather: softness of the edge of what is cut out, in pixels.
        blur: radius of the blur behind it, in pixels; None for the default.
        background: what is put behind it.
    """

    opacity: float = 0.5
    things: Collection[int] | None = None
    feather: float = 1.0
    blur: float | None = None
    background: Background = "white"

    def foreground(self, result: Segmentation) -> Segmentation:
        """Return the segments that are cut out."""
        if self.things is None:
            return result
        return result.only([segment for segment in result.segments if segment.label_id in self.things])


LOSSLESS = ("PNG", "TIFF")  # Pillow's names of formats that keep the ids of a mask
TRANSPARENT = ("PNG", "TIFF", "WEBP")


class Picture(NamedTuple):
    """A format that is a picture.

    Attributes:
        suffix: what it adds to the photo's name.
        make: makes the picture.
        kinds: Pillow's names of the image formats that can hold it; None for any.
        reason: what another one would do, if there is such.
    """

    suffix: str
    make: Callable[[Segmentation, PictureOptions], Image.Image]
    kinds: Collection[str] | None = None
    reason: str = ""


class Text(NamedTuple):
    """A format that is text.

    Attributes:
        suffix: what it adds to the photo's name.
        make: makes what becomes JSON, or the text itself.
    """

    suffix: str
    make: Callable[[Segmentation], dict[str, Any] | str]


def _cutout(result: Segmentation, options: PictureOptions) -> Image.Image:
    return options.foreground(result).cutout(feather=options.feather)


def _matte(result: Segmentation, options: PictureOptions) -> Image.Image:
    return options.foreground(result).matte(feather=options.feather)


def _blurred(result: Segmentation, options: PictureOptions) -> Image.Image:
    return options.foreground(result).blur_background(options.blur, feather=options.feather)


def _replaced(result: Segmentation, options: PictureOptions) -> Image.Image:
    return options.foreground(result).replace_background(options.background, feather=options.feather)


# Each has one file for a photo; panoptic PNGs lie in a folder of their own, as COCO's.
OWN_FILES: Mapping[str, Picture | Text] = {
    "overlay": Picture(".png", lambda result, options: result.draw(opacity=options.opacity)),
    "mask": Picture("-mask.png", lambda result, _: result.to_mask(), LOSSLESS, "change the ids of"),
    "panoptic": Picture(".png", lambda result, _: result.to_panoptic_png()[0], LOSSLESS, "change the ids of"),
    "cutout": Picture("-cutout.png", _cutout, TRANSPARENT, "lose the transparency of"),
    "matte": Picture("-matte.png", _matte),
    "blur-background": Picture("-blur-background.png", _blurred),
    "replace-background": Picture("-replace-background.png", _replaced),
    "json": Text(".json", Segmentation.to_json),
    "result": Text("-result.json", result_json),
    "labelme": Text("-labelme.json", Segmentation.to_labelme),
    "geojson": Text(".geojson", Segmentation.to_geojson),
    "yolo": Text(".txt", Segmentation.to_yolo),
}
# These have one file for all photos.
SHARED_FILES = {
    "csv": "segments.csv", "coco": "coco.json", "coco-results": "coco-results.json", "panoptic": "panoptic.json",
}  # fmt: skip
COCO_FORMATS = ("coco", "coco-results", "panoptic")
FORMATS = (*OWN_FILES, *(name for name in SHARED_FILES if name not in OWN_FILES))
PICTURES = tuple(name for name, kind in OWN_FILES.items() if isinstance(kind, Picture))
CUTOUTS = ("cutout", "matte", "blur-background", "replace-background")
LINES = ("json", "geojson", "csv", "coco", "coco-results")  # which have a line for each photo, or one for all
TEXT_ENDINGS = (".json", ".geojson", ".txt", ".csv")


def encoded(name: str, result: Segmentation, options: PictureOptions, kind: str) -> bytes:
    """Encode a result.

    Args:
        name: of `OWN_FILES`.
        result: what to encode.
        options: how pictures look.
        kind: Pillow's name of the image format of a picture.

    Returns:
        The contents of the file.
    """
    format = OWN_FILES[name]
    if isinstance(format, Picture):
        return encode_image(format.make(result, options), kind)
    made = format.make(result)
    return made.encode() if isinstance(made, str) else json_line(made)


def write_large_overlay(path: Path, result: Segmentation, opacity: float) -> None:
    """Write an overlay strip by strip. Of instances it shows what the map does: the best are on top.

    Args:
        path: the PNG file.
        result: what to draw.
        opacity: of the colors, 0 to 1.

    Raises:
        InputError: if the file cannot be written.
    """
    segments = sorted(result.segments, key=lambda segment: segment.id) if result.task == "semantic" else result.segments
    scores = None if result.task == "semantic" else [segment.score or 0.0 for segment in segments]
    label_ids = {segment.id: segment.label_id for segment in segments}
    write_overlay(path, result.image, result.map, label_ids, scores, result.labels, opacity)


def json_line(value: Any) -> bytes:
    """Return a value as a line of JSON."""
    return (json.dumps(value) + "\n").encode()


def read_background(text: str) -> Background:
    """Read what `--background` says.

    Args:
        text: a color, or whatever names a picture.

    Returns:
        The color, or the picture, (H, W, 3) uint8.

    Raises:
        InputError: if it is neither.
    """
    if is_color(text):
        return text
    try:
        return read_image(text)
    except InputError as error:
        raise InputError(f"--background must be a color, such as white or #ff8800, or a picture: {error}") from None

"""Pictures of results: the photo with its segments tinted, outlined and named, and a legend of their classes."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from lucid_mlx.errors import InputError
from lucid_mlx.visualization.colors import Color, class_colors, segment_colors
from lucid_mlx.visualization.overlay import Box, borders, overlay, present_ids, to_regions
from lucid_mlx.visualization.text import (
    Entry,
    Words,
    draw_labels,
    joined,
    place_labels,
    readable,
    with_legend,
    with_note,
)

SMALLEST = 480  # longer side of a picture; smaller photos are enlarged so that text fits
LARGEST_ID = (1 << 24) - 1  # three bytes: a color packed into a number, as COCO's panoptic files have them
WIDE = 2.0  # width over height of a photo that stands above its picture


@dataclass(frozen=True)
class _Style:
    opacity: float
    dataset: str | None
    legend: bool
    note: str | None
    colors: np.ndarray | None
    shades: Sequence[int] | None = None


class Masks(Protocol):
    """What `draw_instances` reads masks from: an array, or anything that makes each when it is asked for."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, place: int, /) -> np.ndarray:
        """One of them, (H, W) bool."""


class ScoredSegment(Protocol):
    """What `draw_panoptic` reads of a segment."""

    @property
    def id(self) -> int:
        """Its number in the map."""

    @property
    def label_id(self) -> int:
        """Its class."""

    @property
    def score(self) -> float | None:
        """How sure the network is, 0 to 1."""


def draw_semantic(
    image: np.ndarray,
    classes: np.ndarray,
    labels: Mapping[int, str],
    *,
    opacity: float = 0.5,
    dataset: str | None = None,
    colors: np.ndarray | None = None,
    legend: bool = True,
    note: str | None = None,
) -> Image.Image:
    """Draw a semantic map over its photo.

    Args:
        image: (H, W, 3) uint8, RGB.
        classes: (H, W) int, the class of each pixel; negative where there is none.
        labels: the classes' names.
        opacity: of the tint, 0 to 1.
        dataset: whose colors to use; see `palette`.
        colors: those of the classes, as `palette` returns them, if they must not depend on which are in the picture.
        legend: whether to list the classes in the picture, largest first, with their shares of it.
        note: a line to print above, if any.

    Returns:
        An RGB picture; a photo with a longer side under 480 pixels is enlarged.

    Raises:
        InputError: if an argument has another shape or type, or a class no name.
    """
    image = _checked_image(image)
    classes = _checked_map("classes", classes, image)
    present = present_ids(classes)
    regions = to_regions(classes, present)
    return _picture(image, regions, present, None, labels, _Style(opacity, dataset, legend, note, colors))


def draw_panoptic(
    image: np.ndarray,
    segment_map: np.ndarray,
    segments: Sequence[ScoredSegment],
    labels: Mapping[int, str],
    *,
    opacity: float = 0.5,
    dataset: str | None = None,
    colors: np.ndarray | None = None,
    shades: Sequence[int] | None = None,
    legend: bool = True,
    note: str | None = None,
) -> Image.Image:
    """Draw a panoptic map over its photo, the segments of a class in shades of its color.

    Args:
        image: (H, W, 3) uint8, RGB.
        segment_map: (H, W) int, the id of each pixel's segment; 0 or negative where there is none.
        segments: the segments, with `id`, `label_id` and `score`. One may have the id 0.
        labels: the classes' names.
        shades: the number of each segment's shade, from 0; None to count the segments of each class.
        opacity, dataset, colors, legend, note: as for `draw_semantic`.

    Returns:
        An RGB picture; a photo with a longer side under 480 pixels is enlarged.

    Raises:
        InputError: if an argument has another shape or type, a class no name, or an id no or two segments.
    """
    image = _checked_image(image)
    segment_map = _checked_map("segment_map", segment_map, image)
    ids = [int(segment.id) for segment in segments]
    twice = [number for number, count in Counter(ids).items() if count > 1]
    if twice or min(ids, default=0) < 0 or max(ids, default=0) > LARGEST_ID:
        raise InputError(f"segments must have ids of their own from 0 to {LARGEST_ID}, got {(twice or ids)!s:.80}")
    strangers = set(present_ids(segment_map)) - {0, *ids}
    if strangers:
        raise InputError(f"segment_map has the id {min(strangers)}, but none of the segments has it")
    kinds, scores = [int(segment.label_id) for segment in segments], [segment.score or 0.0 for segment in segments]
    style = _Style(opacity, dataset, legend, note, colors, shades)
    return _picture(image, to_regions(segment_map, ids), kinds, scores, labels, style)


def draw_instances(
    image: np.ndarray,
    masks: Masks,
    label_ids: Sequence[int],
    scores: Sequence[float],
    labels: Mapping[int, str],
    *,
    boxes: bool = False,
    opacity: float = 0.5,
    dataset: str | None = None,
    colors: np.ndarray | None = None,
    shades: Sequence[int] | None = None,
    legend: bool = True,
    note: str | None = None,
) -> Image.Image:
    """Draw instances over their photo, smaller ones on top of larger ones, each with its whole outline.

    Args:
        image: (H, W, 3) uint8, RGB.
        masks: (N, H, W) bool; they may overlap. One at a time is in memory, if they are not all there already.
        label_ids: the N classes.
        scores: N numbers from 0 to 1.
        labels: the classes' names.
        boxes: whether to draw the smallest box around each mask.
        shades: as for `draw_panoptic`.
        opacity, dataset, colors, legend, note: as for `draw_semantic`; a share is what is seen of a class.

    Returns:
        An RGB picture; a photo with a longer side under 480 pixels is enlarged.

    Raises:
        InputError: if an argument has another shape or type, or a class no name.
    """
    image = _checked_image(image)
    if not len(masks) == len(label_ids) == len(scores):
        raise InputError(
            f"masks, label_ids and scores must be as many, got {len(masks)}, {len(label_ids)} and {len(scores)}"
        )
    areas = [np.count_nonzero(_checked_mask(masks[number], image)) for number in range(len(masks))]
    image = _enlarged(image)
    regions = np.full(image.shape[:2], -1, np.int32)
    edges = np.zeros(regions.shape, bool)
    width = _line_width(regions)
    around: list[tuple[int, Box]] = []
    for number in sorted((number for number, area in enumerate(areas) if area), key=lambda number: -areas[number]):
        mask = _enlarged(np.asarray(masks[number]))
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        around.append((number, (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))))
        part = tuple(slice(max(0, where[0] - width), where[-1] + 1 + width) for where in (rows, columns))
        mask = mask[part]
        regions[part][mask] = number
        edges[part] |= borders(mask, width)
    kinds, style = [int(kind) for kind in label_ids], _Style(opacity, dataset, legend, note, colors, shades)
    return _picture(image, regions, kinds, scores, labels, style, edges, around if boxes else ())


def side_by_side(photo: np.ndarray, picture: Image.Image) -> Image.Image:
    """Put a photo beside its picture, or above it if it is much wider than high.

    Args:
        photo: (H, W, 3) uint8, RGB.
        picture: what one of the `draw_` functions made of it.

    Raises:
        InputError: if the photo is none.
    """
    photo = _enlarged(_checked_image(photo))
    across = photo.shape[1] < WIDE * photo.shape[0]
    return joined([Image.fromarray(photo), picture], across, gap=_font_size(photo) // 2)


def _picture(
    image: np.ndarray,
    regions: np.ndarray,
    kinds: Sequence[int],
    scores: Sequence[float] | None,
    labels: Mapping[int, str],
    style: _Style,
    edges: np.ndarray | None = None,
    boxes: Sequence[tuple[int, Box]] = (),
) -> Image.Image:
    """Draw segments, given the class and the score of each, and for each pixel the segment or -1."""
    if not 0.0 <= style.opacity <= 1.0:
        raise InputError(f"opacity must be from 0 to 1, got {style.opacity}")
    nameless = sorted(set(kinds) - labels.keys())
    if nameless:
        raise InputError(f"labels has no name for the class {nameless[0]}; it needs one for each class in the picture")
    image, regions = _enlarged(image), _enlarged(regions)
    if style.shades is not None and len(style.shades) != len(kinds):
        raise InputError(f"shades must be a number for each of the {len(kinds)} segments, got {len(style.shades)}")
    base = _class_colors(labels, set(kinds), style)
    colors = segment_colors(kinds, base, style.shades)

    width = _line_width(regions)
    edges = borders(regions, width) if edges is None else edges
    edges |= borders(regions >= 0, 2 * width)  # there only the inner half is drawn
    picture = overlay(image, regions, colors, edges, width, style.opacity)
    draw = ImageDraw.Draw(picture)
    for number, (left, top, right, bottom) in boxes:
        draw.rectangle((left - width, top - width, right + width, bottom + width), outline="black", width=4 * width)
        draw.rectangle((left, top, right, bottom), outline=colors[number], width=2 * width)

    size = _font_size(image)
    names = _readable_names(labels, set(kinds))
    texts = [[names[kind]] for kind in kinds]
    if scores is not None:  # with its score or, if there is no room for that, without
        texts = [
            [(f"{name} {score:.2f}", font), (name, font)] for [(name, font)], score in zip(texts, scores, strict=True)
        ]
    draw_labels(picture, place_labels(regions, texts, size), colors)
    if style.legend:
        areas = np.bincount(regions.ravel() + 1, minlength=len(kinds) + 1)[1:]
        shares: Counter[int] = Counter()
        for kind, area in zip(kinds, areas.tolist(), strict=True):
            shares[kind] += area / regions.size
        entries = [Entry(base[kind], *names[kind], share) for kind, share in shares.most_common() if share > 0.0]
        picture = with_legend(picture, entries, size)
    return with_note(picture, style.note, size) if style.note else picture


def _class_colors(labels: Mapping[int, str], kinds: set[int], style: _Style) -> dict[int, Color]:
    if style.colors is None:
        return class_colors(labels, kinds, style.dataset)
    table = np.asarray(style.colors)
    if table.dtype != np.uint8 or table.ndim != 2 or table.shape[1] != 3 or len(table) <= max(kinds, default=-1):
        raise InputError(
            f"colors must be (K, 3) uint8 with a row for each class, as palette(labels) returns them, got "
            f"{table.shape} {table.dtype}"
        )
    return {kind: (red, green, blue) for kind in kinds for red, green, blue in [table[kind].tolist()]}


def _readable_names(labels: Mapping[int, str], kinds: Iterable[int]) -> dict[int, Words]:
    """Return what to call the classes and in which font; of synonyms, "floor, flooring", the first tells enough."""
    first = {kind: labels[kind].split(",")[0] for kind in kinds}
    names = first if len(set(first.values())) == len(first) else labels
    return {kind: readable(names[kind], f"class {kind}") for kind in first}


def _font_size(image: np.ndarray) -> int:
    """Choose by the side of the square with the photo's area, so that a long narrow one has no huge letters."""
    return max(13, round(math.sqrt(image.shape[0] * image.shape[1]) / 34))


def _line_width(regions: np.ndarray) -> int:
    """Choose half the width of an outline, in pixels, by the size of the picture."""
    return max(1, round(math.sqrt(regions.size) / 900))


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a small photo, or of something of its size, until its longer side is at least `SMALLEST`."""
    factor = -(-SMALLEST // max(pixels.shape[:2]))
    return pixels if factor == 1 else np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)


def _checked_image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"the image must be (H, W, 3) uint8 with pixels in it, got {image.shape} {image.dtype}")
    return image


def _checked_mask(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != image.shape[:2]:
        raise InputError(f"each mask must be {image.shape[:2]} bool, as its image, got {mask.shape} {mask.dtype}")
    return mask


def _checked_map(name: str, ids: np.ndarray, image: np.ndarray) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu" or ids.shape != image.shape[:2]:
        raise InputError(f"{name} must be {image.shape[:2]} whole numbers, as its image, got {ids.shape} {ids.dtype}")
    if ids.max() > LARGEST_ID or ids.min() < -LARGEST_ID:
        raise InputError(f"{name} must hold numbers up to {LARGEST_ID}, got {ids.min()} to {ids.max()}")
    return ids.astype(np.int32, copy=False)

"""Images of results: the photo with its segments tinted, outlined and labeled, and a legend of their classes."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_ID, check_value, check_values, whole_numbers
from lucid_mlx.visualization.colors import Color, check_labels, class_colors, segment_colors
from lucid_mlx.visualization.overlay import (
    Box,
    Masks,
    array,
    checked_image,
    checked_image_and_map,
    count_ids,
    distinct_masks,
    find_boundaries,
    ids_to_indices,
    index_dtype,
    numbers,
    overlay,
    present_ids,
)
from lucid_mlx.visualization.text import (
    LegendEntry,
    TextAndFont,
    add_legend,
    add_title,
    concatenate,
    draw_labels,
    place_labels,
    renderable,
)

MIN_LONGER_SIDE = 480  # pixels; smaller photos are enlarged so that text fits
WIDE_ASPECT_RATIO = 2.0  # a photo with at least this width / height is put above its result, not beside it


@dataclass(frozen=True)
class _Style:
    opacity: float
    dataset: str | None
    legend: bool
    title: str | None
    colors: np.ndarray | None
    shade_indices: Sequence[int] | None = None


class ScoredSegment(Protocol):
    """What `draw_panoptic` reads of a segment."""

    @property
    def id(self) -> int:
        """The segment's id in the map."""

    @property
    def label_id(self) -> int:
        """The id of its class."""

    @property
    def score(self) -> float | None:
        """The confidence of the network, 0 to 1."""


def draw_semantic(
    image: np.ndarray,
    class_map: np.ndarray,
    labels: Mapping[int, str],
    *,
    opacity: float = 0.5,
    dataset: str | None = None,
    colors: np.ndarray | None = None,
    legend: bool = True,
    title: str | None = None,
) -> Image.Image:
    """Draw a semantic map over its photo.

    Args:
        image: (H, W, 3) uint8, RGB, the photo.
        class_map: (H, W) int, the class id of each pixel; negative for no class.
        labels: names of the classes, by class id.
        opacity: of the colors, 0 to 1.
        dataset: use the colors of this dataset; see `palette`.
        colors: (K, 3) uint8, the color of each class, as `palette` returns them. If None, colors may depend on which
            classes are in the image.
        legend: list the classes, largest first, with the fraction of the image that they cover.
        title: a line of text above the image.

    Returns:
        An RGB image. A photo whose longer side is under 480 pixels is enlarged.

    Raises:
        InputError: if an argument has a wrong shape or type, or a class has no name.
    """
    image, class_map = checked_image_and_map(image, "class_map", class_map)
    label_ids = present_ids(class_map)
    index_map = ids_to_indices(class_map, label_ids)
    style = _Style(opacity, dataset, legend, title, colors)
    return _draw_segments(image, index_map, label_ids, None, labels, style)


def draw_panoptic(
    image: np.ndarray,
    segment_map: np.ndarray,
    segments: Sequence[ScoredSegment],
    labels: Mapping[int, str],
    *,
    opacity: float = 0.5,
    dataset: str | None = None,
    colors: np.ndarray | None = None,
    shade_indices: Sequence[int] | None = None,
    legend: bool = True,
    title: str | None = None,
) -> Image.Image:
    """Draw a panoptic map over its photo. Segments of a class have shades of its color.

    Args:
        image: (H, W, 3) uint8, RGB, the photo.
        segment_map: (H, W) int, the id of each pixel's segment; 0 or negative for no segment.
        segments: the segments, with `id`, `label_id` and `score`. One of them may have the id 0.
        labels: names of the classes, by class id.
        opacity: of the colors, 0 to 1.
        dataset: use the colors of this dataset; see `palette`.
        colors: (K, 3) uint8, the color of each class, as `palette` returns them. If None, colors may depend on which
            classes are in the image.
        shade_indices: for each segment the index of its shade, from 0; None to count the segments of each class.
        legend: list the classes, largest first, with the fraction of the image that they cover.
        title: a line of text above the image.

    Returns:
        An RGB image. A photo whose longer side is under 480 pixels is enlarged.

    Raises:
        InputError: if an argument has a wrong shape or type, a class has no name, an id in the map has no segment, or
            two segments have the same id.
    """
    image, segment_map = checked_image_and_map(image, "segment_map", segment_map)
    try:
        pairs = [number for segment in segments for number in (segment.id, segment.label_id)]
        scores = [float(segment.score or 0.0) for segment in segments]
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise InputError(f"segments must have id, label_id and score, got {shown(segments)}") from None
    pairs = whole_numbers("the ids and classes of segments", pairs)
    ids, label_ids = pairs[::2], pairs[1::2]
    if duplicates := [segment_id for segment_id, count in Counter(ids).items() if count > 1]:
        raise InputError(f"segments must have different ids from 0 to {MAX_ID}, got {shown(duplicates)}")
    unknown = set(present_ids(segment_map)) - {0, *ids}
    if unknown:
        raise InputError(f"segment_map has the id {min(unknown)}, but none of the segments has it")
    style = _Style(opacity, dataset, legend, title, colors, shade_indices)
    return _draw_segments(image, ids_to_indices(segment_map, ids), label_ids, scores, labels, style)


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
    shade_indices: Sequence[int] | None = None,
    legend: bool = True,
    title: str | None = None,
) -> Image.Image:
    """Draw instances over their photo, smaller ones on top of larger ones, each with its whole outline.

    Of near-duplicates, whose intersection is more than 0.8 of their union, the one with the highest score is drawn.

    Args:
        image: (H, W, 3) uint8, RGB, the photo.
        masks: (N, H, W) bool; they may overlap. They are read one at a time.
        label_ids: class id of each instance.
        scores: score of each instance, 0 to 1.
        labels: names of the classes, by class id.
        boxes: draw the bounding box of each mask.
        opacity: of the colors, 0 to 1.
        dataset: use the colors of this dataset; see `palette`.
        colors: (K, 3) uint8, the color of each class, as `palette` returns them. If None, colors may depend on which
            classes are in the image.
        shade_indices: for each instance the index of its shade, from 0; None to count the instances of each class.
        legend: list the classes, largest first, with the fraction of the image in which they are visible.
        title: a line of text above the image.

    Returns:
        An RGB image. A photo whose longer side is under 480 pixels is enlarged.

    Raises:
        InputError: if an argument has a wrong shape or type, or a class has no name.
    """
    image = checked_image(image)
    check_value("boxes", boxes, bool)
    label_ids, scores = whole_numbers("label_ids", label_ids), numbers("scores", scores)
    if isinstance(masks, Mapping) or not hasattr(masks, "__getitem__") or not hasattr(masks, "__len__"):
        raise InputError(f"masks must be (N, H, W) bool, got {shown(masks)}")
    if not len(masks) == len(label_ids) == len(scores):
        raise InputError(
            f"masks, label_ids and scores must have one length, got {len(masks)}, {len(label_ids)} and {len(scores)}"
        )
    areas = distinct_masks(masks, scores, image)
    image = _enlarge(image)
    index_map = np.full(image.shape[:2], -1, index_dtype(len(masks)))
    boundaries = np.zeros(index_map.shape, bool)
    width = line_width(index_map.shape)
    mask_boxes: list[tuple[int, Box]] = []
    for index in sorted(areas, key=lambda index: -areas[index]):
        mask = _enlarge(np.asarray(masks[index]))
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        mask_boxes.append((index, (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))))
        crop = tuple(slice(max(0, used[0] - width), used[-1] + 1 + width) for used in (rows, columns))
        mask = mask[crop]
        index_map[crop][mask] = index
        boundaries[crop] |= find_boundaries(mask, width)
    style = _Style(opacity, dataset, legend, title, colors, shade_indices)
    return _draw_segments(
        image,
        index_map,
        label_ids,
        scores,
        labels,
        style,
        boundaries,
        mask_boxes if boxes else (),
    )


def side_by_side(photo: np.ndarray, result: Image.Image) -> Image.Image:
    """Put a photo beside its result, or above it if it is much wider than high.

    Args:
        photo: (H, W, 3) uint8, RGB.
        result: the image that one of the `draw_` functions made of the photo.

    Returns:
        An RGB image of both.

    Raises:
        InputError: if the photo has a wrong shape or type.
    """
    photo = _enlarge(checked_image(photo))
    check_value("result", result, Image.Image)
    horizontal = photo.shape[1] < WIDE_ASPECT_RATIO * photo.shape[0]
    return concatenate([Image.fromarray(photo), result], horizontal, gap=font_size(photo.shape) // 2)


def _draw_segments(
    image: np.ndarray,
    index_map: np.ndarray,
    label_ids: Sequence[int],
    scores: Sequence[float] | None,
    labels: Mapping[int, str],
    style: _Style,
    boundaries: np.ndarray | None = None,
    boxes: Sequence[tuple[int, Box]] = (),
) -> Image.Image:
    """Draw segments with given class ids and scores; `index_map` has the segment of each pixel, or -1."""
    check_values(
        ("opacity", style.opacity, float, 0, 1), ("title", style.title, str | None), ("legend", style.legend, bool)
    )
    check_labels(labels)
    unnamed = sorted(set(label_ids) - labels.keys())
    if unnamed:
        raise InputError(f"labels has no name for the class {unnamed[0]}; it needs one for each class in the image")
    image, index_map = _enlarge(image), _enlarge(index_map)
    shade_indices = None if style.shade_indices is None else whole_numbers("shade_indices", style.shade_indices)
    if shade_indices is not None and len(shade_indices) != len(label_ids):
        raise InputError(
            f"shade_indices must have a number for each of the {len(label_ids)} segments, got {len(shade_indices)}"
        )
    base_colors = _class_colors(labels, set(label_ids), style)
    colors = segment_colors(label_ids, base_colors, shade_indices)

    width = line_width(index_map.shape)
    boundaries = find_boundaries(index_map, width) if boundaries is None else boundaries
    if (index_map < 0).any():
        boundaries |= find_boundaries(index_map >= 0, 2 * width)  # there only the inner half is drawn
    result = overlay(image, index_map, colors, boundaries, width, style.opacity)
    draw = ImageDraw.Draw(result)
    for index, (left, top, right, bottom) in boxes:
        draw.rectangle((left - width, top - width, right + width, bottom + width), outline="black", width=4 * width)
        draw.rectangle((left, top, right, bottom), outline=colors[index], width=2 * width)

    size = font_size(index_map.shape)
    names = class_names(labels, set(label_ids))
    draw_labels(result, place_labels(index_map, label_texts(names, label_ids, scores), size), colors)
    if style.legend:
        fractions: Counter[int] = Counter()
        for label_id, area in zip(label_ids, count_ids(index_map).tolist(), strict=False):  # the last may be hidden
            fractions[label_id] += area / index_map.size
        result = add_legend(result, legend_entries(fractions, base_colors, names), size)
    return add_title(result, style.title, size) if style.title else result


def _class_colors(labels: Mapping[int, str], label_ids: set[int], style: _Style) -> dict[int, Color]:
    if style.colors is None:
        return class_colors(labels, label_ids, style.dataset)
    table = array("colors", style.colors)
    if table.dtype != np.uint8 or table.ndim != 2 or table.shape[1] != 3 or len(table) <= max(label_ids, default=-1):
        raise InputError(
            f"colors must be (K, 3) uint8 with a row for each class, as palette(labels) returns them, got "
            f"{table.shape} {table.dtype}"
        )
    return {label_id: (red, green, blue) for label_id in label_ids for red, green, blue in [table[label_id].tolist()]}


def class_names(labels: Mapping[int, str], label_ids: Iterable[int]) -> dict[int, TextAndFont]:
    """Return the classes' names and fonts; of a label such as "floor, flooring" the first name, if it is unique.

    Args:
        labels: names of all classes, by class id.
        label_ids: the classes.

    Returns:
        The name of each class, and of the font that has its letters.
    """
    first = {label_id: labels[label_id].split(",")[0] for label_id in label_ids}
    names = first if len(set(first.values())) == len(first) else labels
    return {label_id: renderable(names[label_id], f"class {label_id}") for label_id in first}


def label_texts(
    names: Mapping[int, TextAndFont], label_ids: Sequence[int], scores: Sequence[float] | None
) -> list[list[TextAndFont]]:
    """Return what the label of each segment may say: the name and the score if that fits, else the name alone.

    Args:
        names: of the classes, with their fonts.
        label_ids: the class of each segment.
        scores: the score of each segment; None if they have none.

    Returns:
        For each segment the texts, preferred first.
    """
    if scores is None:
        return [[names[label_id]] for label_id in label_ids]
    pairs = [(names[label_id], score) for label_id, score in zip(label_ids, scores, strict=True)]
    return [[(f"{name} {score:.2f}", font), (name, font)] for (name, font), score in pairs]


def legend_entries(
    fractions: Mapping[int, float], colors: Mapping[int, Color], names: Mapping[int, TextAndFont]
) -> list[LegendEntry]:
    """Return the lines of a legend, the largest class first.

    Args:
        fractions: of the image that each class covers.
        colors: of the classes.
        names: of the classes, with their fonts.

    Returns:
        The lines; none of a class that covers nothing.
    """
    return [
        LegendEntry(colors[label_id], *names[label_id], fraction)
        for label_id, fraction in sorted(fractions.items(), key=lambda item: -item[1])
        if fraction > 0.0
    ]


def font_size(shape: tuple[int, ...]) -> int:
    """Return a font size in pixels; it follows the area, so that a long narrow image has no huge letters."""
    return max(13, round(math.sqrt(shape[0] * shape[1]) / 34))


def line_width(shape: tuple[int, ...]) -> int:
    """Return half the width of an outline in pixels; it follows the area of the image."""
    return max(1, round(math.sqrt(shape[0] * shape[1]) / 900))


def _enlarge(pixels: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a small image or map until its longer side is at least `MIN_LONGER_SIDE`."""
    factor = -(-MIN_LONGER_SIDE // max(pixels.shape[:2]))
    return pixels if factor == 1 else np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)

"""Pictures of results that are too large to be drawn at once: drawn and written strip by strip."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lucid_mlx.utils.files import atomic_write
from lucid_mlx.utils.png_strips import write_png
from lucid_mlx.visualization.colors import Color, class_colors, segment_colors
from lucid_mlx.visualization.draw import class_names, font_size, label_texts, legend_entries, line_width
from lucid_mlx.visualization.overlay import count_ids, find_boundaries, ids_to_indices, overlay
from lucid_mlx.visualization.text import TextLabel, draw_labels, draw_legend, is_tall, place_labels

STRIP_PIXELS = 500_000  # drawing takes some 30 bytes for each, and for those around


class _Indices:
    """The index of each pixel's segment, or -1, of which a part is made when it is asked for."""

    def __init__(self, ids: np.ndarray, wanted: Sequence[int]):
        self._ids, self._wanted, self.shape = ids, wanted, ids.shape

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, part: slice | tuple[slice, slice], /) -> np.ndarray:
        return ids_to_indices(self._ids[part], self._wanted)


def write_overlay(
    path: Path,
    image: np.ndarray,
    ids: np.ndarray,
    segments: Mapping[int, int],
    scores: Sequence[float] | None,
    labels: Mapping[int, str],
    opacity: float,
) -> None:
    """Write what `draw_semantic` or `draw_panoptic` returns to a PNG file.

    Args:
        path: the file.
        image: (H, W, 3) uint8, RGB, the photo, whose longer side has 480 pixels or more.
        ids: (H, W) int32, the id of each pixel's segment.
        segments: by the ids of the segments, the ids of their classes; another id in the map is no segment.
        scores: of the segments; None if they have none.
        labels: names of the classes, by class id.
        opacity: of the colors, 0 to 1.

    Raises:
        InputError: if the file cannot be written.
    """
    label_ids = list(segments.values())
    base_colors = class_colors(labels, set(label_ids))
    colors = segment_colors(label_ids, base_colors)
    names, size = class_names(labels, set(label_ids)), font_size(ids.shape)
    indices, (height, width) = _Indices(ids, list(segments)), ids.shape
    step = max(1, STRIP_PIXELS // width)
    counts = np.zeros(len(segments), np.int64)
    for top in range(0, height, step):
        found = count_ids(indices[top : top + step])
        counts[: len(found)] += found
    areas: Counter[int] = Counter()
    for label_id, area in zip(label_ids, counts.tolist(), strict=True):
        areas[label_id] += area
    fractions = {label_id: area / ids.size for label_id, area in areas.items()}
    entries = legend_entries(fractions, base_colors, names)
    legend = draw_legend((width, height), entries, size) if entries else Image.new("RGB", (0, 0))
    beside = bool(entries) and is_tall((width, height))
    if beside:
        total_height, total_width = max(height, legend.height), width + legend.width
    else:
        total_height, total_width = height + legend.height, max(width, legend.width)
    placed = place_labels(indices, label_texts(names, label_ids, scores), size)

    def strips() -> Iterator[np.ndarray]:
        for top in range(0, total_height, step):
            strip = np.full((min(step, total_height - top), total_width, 3), 255, np.uint8)
            rows = range(top, min(top + step, height))
            if rows:
                strip[: len(rows), :width] = _strip(image, indices, colors, placed, opacity, rows)
            down, right = (0, width) if beside else (height, 0)
            first, last = (
                max(0, top - down),
                min(top - down + len(strip), legend.height),
            )  # its rows that are in the strip
            if first < last:
                place = strip[first + down - top : last + down - top, right : right + legend.width]
                place[:] = legend.crop((0, first, legend.width, last))
            yield strip

    with atomic_write(path) as temporary, temporary.open("wb") as file:
        write_png(file, total_width, total_height, strips())


def _strip(
    image: np.ndarray, indices: _Indices, colors: Sequence[Color], labels: Sequence[TextLabel], opacity: float,
    rows: range,
) -> np.ndarray:  # fmt: skip
    """Draw some rows, (n, W, 3) uint8. Outlines and their blur reach into the rows around them."""
    width = line_width(indices.shape)
    margin = 4 * width + 2
    first, last = max(0, rows.start - margin), min(len(image), rows.stop + margin)
    index_map = indices[first:last]
    boundaries = find_boundaries(index_map, width)
    boundaries |= find_boundaries(index_map >= 0, 2 * width)
    drawn = overlay(image[first:last], index_map, colors, boundaries, width, opacity)
    moved = [
        replace(label, box=(label.box[0], label.box[1] - first, label.box[2], label.box[3] - first))
        for label in labels
        if label.box[1] < last and label.box[3] > first
    ]
    draw_labels(drawn, moved, colors)
    return np.asarray(drawn)[rows.start - first : rows.stop - first]

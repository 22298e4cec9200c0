"""Pictures that are larger than what a network sees at once, such as those of microscopes and from the air."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.call_options import call_options
from lucid_mlx.errors import InputError
from lucid_mlx.inference import Logits, check_memory, in_background
from lucid_mlx.postprocessing.blending import blended_rows, low_scores
from lucid_mlx.postprocessing.inputs import ImageSizes, Thresholds, extract_logits
from lucid_mlx.preprocessing import preprocess, read_image
from lucid_mlx.preprocessing.read_image import ImageLike
from lucid_mlx.results import Segmentation
from lucid_mlx.results.join_tiles import Joiner, Span, Tile, measure
from lucid_mlx.results.segment import Segment
from lucid_mlx.segmenter import Segmenter, image_name
from lucid_mlx.utils.text import hide_bar
from lucid_mlx.utils.validation import MAX_COUNT, check_value


def segment_tiled(
    segmenter: Segmenter,
    image: ImageLike,
    *,
    tile: int = 1024,
    overlap: int = 128,
    batch_size: int = 1,
    thresholds: Thresholds | None = None,
    threshold: float | None = None,
    bgr: bool = False,
    progress: bool = False,
) -> Segmentation:
    """Segment a large picture tile by tile, as mmsegmentation's slide mode does.

    Each tile is prepared as a photo of its own: the network sees it at the segmenter's size. All tiles have one
    size. In a semantic segmentation the classes' scores are blended where tiles overlap. Otherwise
    segments of two tiles are one if they are of one class, and in what both tiles see their intersection is more than
    half of their union; all stuff of a class is one segment.

    A picture that is no larger than a tile gets what the segmenter itself returns. The map needs 4 bytes for each
    pixel, and the picture 3.

    Args:
        segmenter: what segments the tiles.
        image: what `read_image` takes.
        tile: longest side of a tile in pixels of the picture.
        overlap: how many pixels neighbors have in common at least; at most half a tile.
        batch_size: tiles that run together.
        thresholds: what counts as found; `top_k` is for each tile.
        threshold: minimum score of a segment, where `thresholds` has none.
        bgr: arrays and tensors are BGR, as OpenCV has them.
        progress: show a progress bar, if standard error is a terminal or this a notebook.

    Returns:
        The result. `Segmentation.with_threshold` does not work on it, unless one tile sufficed.

    Raises:
        InputError: if the image cannot be read, or a value has a wrong type or is out of range.
    """
    check_value("segmenter", segmenter, Segmenter)
    check_tiles(tile, overlap)
    options = call_options(
        segmenter.task, segmenter.threshold, batch_size, thresholds, threshold, bgr, progress=progress
    )
    photo, name = read_image(image, bgr=bgr), image_name(image)
    height, width = photo.shape[:2]
    if max(height, width) <= tile:
        (result,) = segmenter.stream_with([photo], options._replace(progress=False, bgr=False))
        return replace(result, name=name)
    rows, columns = spans(height, tile, overlap), spans(width, tile, overlap)
    with tqdm(total=len(rows) * len(columns), unit="tile", disable=hide_bar(progress), leave=False) as bar:
        if segmenter.task == "semantic":
            return _semantic(segmenter, photo, name, rows, columns, batch_size, bar.update)
        tiles = [Tile(row, column) for row in rows for column in columns]
        joiner = Joiner(segmenter.task, (height, width), segmenter.thing_ids)
        plain = options._replace(progress=False, bgr=False, ahead=True)
        results = segmenter.stream_with((photo[each.region] for each in tiles), plain)
        for each, result in zip(tiles, results, strict=True):
            joiner.add(each, result)
            bar.update()
    used = replace(options.thresholds, threshold=options.thresholds.score_threshold(segmenter.task))
    return joiner.result(photo, segmenter.labels, name, used)


def check_tiles(tile: int, overlap: int) -> None:
    """Check the size of tiles.

    Args:
        tile: as of `segment_tiled`.
        overlap: as of `segment_tiled`.

    Raises:
        InputError: if they do not fit together.
    """
    check_value("tile", tile, int, 32, MAX_COUNT)
    check_value("overlap", overlap, int, 1, MAX_COUNT)
    if overlap > tile // 2:
        raise InputError(f"tiles of {tile} pixels overlap by at most half of that, got {overlap}")


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Lay tiles along an axis; the last one may overlap the one before it by more than the others do.

    Args:
        length: of the axis, in pixels.
        tile: of a tile, in pixels; the whole axis if that is shorter.
        overlap: how many pixels neighbors have in common at least.

    Returns:
        The tiles, in order.
    """
    tile = min(tile, length)
    last = -(-(length - tile) // (tile - overlap))  # index of the last one
    starts = [min(index * (tile - overlap), length - tile) for index in range(last + 1)]
    cuts = [0, *((start + tile + after) // 2 for start, after in pairwise(starts)), length]
    return [Span(start, start + tile, *core) for start, core in zip(starts, pairwise(cuts), strict=True)]


def _semantic(
    segmenter: Segmenter, photo: np.ndarray, name: str | None, rows: Sequence[Span], columns: Sequence[Span],
    batch_size: int, advance: Callable[[int], object],
) -> Segmentation:  # fmt: skip
    size = rows[0].stop, columns[0].stop
    config = segmenter.image_config
    input_size = config.input_size(*size)
    check_memory(segmenter.model, *input_size, batch_size)

    def scores(row: Span) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for first in range(0, len(columns), batch_size):
            tiles = [photo[Tile(row, column).region] for column in columns[first : first + batch_size]]
            logits = segmenter.inference.start(preprocess(tiles, config).pixels).logits()
            found += in_background(_low_scores, logits)
            advance(len(tiles))
        return found

    class_map = np.empty(photo.shape[:2], np.int32)
    sizes = ImageSizes(input_size, config.content_size(*size), size)
    down, across = ([(span.start, span.stop) for span in axis] for axis in (rows, columns))
    for strip, classes in blended_rows(map(scores, rows), down, across, sizes):
        class_map[strip] = classes
    class_map += 1  # 0 would not be measured
    measured = measure(class_map)
    class_map -= 1
    segments = [
        Segment(number - 1, number - 1, segmenter.labels[number - 1], None, *measured[number])
        for number in sorted(measured, key=lambda number: -measured[number][0])
    ]
    return Segmentation("semantic", photo, class_map, tuple(segments), segmenter.labels, name)


def _low_scores(logits: Logits) -> list[np.ndarray]:
    return [low_scores(*each) for each in zip(*extract_logits(logits), strict=True)]

"""`lucid-mlx segment`."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lucid_mlx.backends import device_name
from lucid_mlx.cli.formats import COCO_FORMATS, CUTOUTS, FORMATS, PictureOptions, read_background
from lucid_mlx.cli.inputs import STANDARD_INPUT, contents, find_photos, required_weights, tell_unused, weights_files
from lucid_mlx.cli.options import (
    batch_size_option,
    dtype_option,
    force_option,
    labels_option,
    opacity_option,
    output_option,
    size_option,
    task_option,
    threshold_option,
    weights_option,
)
from lucid_mlx.cli.outputs import Writer, parse_formats
from lucid_mlx.cli.photos import own_share, tiled
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import read_image
from lucid_mlx.results import Segmentation
from lucid_mlx.results.find_labels import find_label_ids
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.tiles import check_tiles
from lucid_mlx.utils.files import check_not_input
from lucid_mlx.utils.text import echo
from lucid_mlx.utils.validation import MAX_COUNT
from lucid_mlx.weights.address import parse_address

WRITERS = 2  # threads that draw and write


@click.command()
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@weights_option()
@task_option
@size_option
@dtype_option
@output_option(
    "A file for one photo in one format; else a folder, which is made; - for standard output. Default: "
    "PHOTO-segmented.png and the like for one photo, the folder `segmented` for more.",
    type=str,
)
@click.option(
    "--format", "formats", default="overlay", show_default=True,
    help=f"What to write, separated by commas: {', '.join(FORMATS)}.",
)  # fmt: skip
@threshold_option
@click.option(
    "--mask-threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True,
    help="Probability from which a pixel belongs to a panoptic segment.",
)  # fmt: skip
@labels_option
@opacity_option
@click.option(
    "--background", metavar="COLOR|PICTURE", default="white", show_default=True,
    help="What the format replace-background puts behind the segments.",
)  # fmt: skip
@click.option(
    "--blur", type=click.FloatRange(0, 1000),
    help="Radius of the format blur-background in pixels. Default: 2 % of the longer side.",
)  # fmt: skip
@click.option(
    "--feather", type=click.FloatRange(0, 1000), default=1.0, show_default=True,
    help="Softness of the edge of what is cut out, in pixels; 0 for a hard one.",
)  # fmt: skip
@click.option(
    "--category-ids", type=click.Choice(("dataset", "contiguous", "from-one")), default="dataset", show_default=True,
    help="Categories in COCO's formats: the dataset's own, such as COCO's 1 to 200, if it is known; or the network's "
    "classes from 0; or these from 1, for tools that take 0 for the background.",
)  # fmt: skip
@click.option(
    "--top-k", type=click.IntRange(1, 1_000_000), default=100, show_default=True,
    help="How many instances there may be, in a photo or in a tile.",
)  # fmt: skip
@click.option(
    "--tile", type=click.IntRange(32, MAX_COUNT),
    help="Segment larger photos in tiles with sides of so many pixels, each as a photo of its own, and join what is "
    "found.",
)  # fmt: skip
@click.option(
    "--overlap", type=click.IntRange(1, MAX_COUNT), default=128, show_default=True,
    help="How many pixels tiles have in common; at most half a tile.",
)  # fmt: skip
@click.option("--recursive", is_flag=True, help="Search the folders in a folder too.")
@click.option("--skip-existing", is_flag=True, help="Leave out photos whose results are there.")
@batch_size_option
@force_option
def segment(
    photos: tuple[str, ...], weights: str | None, task: str | None, size: str | None, dtype: str | None,
    output: str | None, formats: str, threshold: float | None, mask_threshold: float, labels: str | None,
    opacity: float, background: str, blur: float | None, feather: float, category_ids: str, top_k: int,
    tile: int | None, overlap: int, recursive: bool, skip_existing: bool, batch_size: int, force: bool,
) -> None:  # fmt: skip
    """Find the segments of each PHOTO and draw them over it.

    PHOTO is a picture, a folder of pictures, a pattern such as 'trip/*.jpg', an address, or - for standard input.

    \b
    Examples:
      lucid-mlx segment examples/coffee.jpg --weights demo
      lucid-mlx segment trip/ --weights facebook/mask2former-swin-tiny-coco-panoptic -o pictures --format overlay,coco
    """
    if tile is not None:
        check_tiles(tile, overlap)
    if skip_existing and force:
        raise InputError("--skip-existing keeps what is there, and --force overwrites it; give one")
    names, kinds = find_photos(photos, recursive, output), parse_formats(formats)
    alone = len(names) == 1 and Path(names[0]).name in [Path(photo).name for photo in photos]  # no folder or pattern
    behind = read_background(background) if "replace-background" in kinds else "white"
    writer = Writer(names, kinds, output, alone, PictureOptions(opacity, None, feather, blur, behind))
    names = own_share(names, writer, skip_existing)
    if not names:
        return
    # One photo is read before all else, so that what is wrong with it is told first, unless it may be too large to have
    # it twice.
    first = len(names) == 1 and tile is None
    images: list[Any] = [read_image(contents(names[0]))] if first else [contents(name) for name in names]
    check_not_input(writer.paths, [*map(Path, [*names, background]), *weights_files(weights)])
    weights = required_weights(weights)
    start = time.perf_counter()
    # What is wrong with weights on disk is told before what is wrong with the output; a download waits for both.
    segmenter = None
    if isinstance(parse_address(weights), Path):
        segmenter = Segmenter(weights, task, dtype=dtype, size=size)
    writer.make_folders(force)
    segmenter = segmenter or Segmenter(weights, task, dtype=dtype, size=size)
    kept = None if labels is None else labels.split(",")
    for label in kept or ():
        find_label_ids(label, segmenter.labels)
    uses = {
        "opacity": ("overlay",), "background": ("replace-background",), "blur": ("blur-background",),
        "feather": CUTOUTS, "category_ids": COCO_FORMATS,
    }  # fmt: skip
    tell_unused(segmenter.task, {
        option: f"without {'the format' if len(users) == 1 else 'one of the formats'} {', '.join(users)}"
        for option, users in uses.items() if not set(users) & set(kinds)
    } | ({} if tile else {"overlap": "without --tile"})
      | ({} if segmenter.task == "instance" else {"top_k": "but the number of instances"}))  # fmt: skip
    if kept is None and (cut := [kind for kind in kinds if kind in CUTOUTS]):
        writer.options = replace(writer.options, things=segmenter.thing_ids)
        what = "all that is found" if segmenter.thing_ids is None else "every object, and no stuff such as sky"
        echo(f"{', '.join(cut)}: of {what}; --labels chooses", err=True)
    echo(
        f"{segmenter.task} segmentation in {str(segmenter.model.dtype).removeprefix('mlx.core.')} "
        f"on the {device_name()}; "
        f"{segmenter.image_config_note} "
        f"(ready in {time.perf_counter() - start:.1f} s)",
        err=True,
    )

    categories = {
        "dataset": segmenter.category_ids, "contiguous": None, "from-one": {n: n + 1 for n in segmenter.labels},
    }[category_ids]  # fmt: skip
    thresholds = Thresholds(threshold, mask_threshold, top_k=top_k)
    if tile is not None:
        found = tiled(segmenter, images, names, tile, overlap, batch_size, thresholds)
    else:
        found = segmenter.stream(
            images, batch_size=batch_size, thresholds=thresholds, on_error="skip", progress=len(names) > 1
        )
    done = without_objects = 0
    try:
        for name, result, seconds, files in _written(found, names, kept, writer, WRITERS if tile is None else 0):
            writer.collect(name, result, categories)
            height, width = result.map.shape
            line = f"{result.name}: {width}x{height}, {result.summary()}, {seconds:.2f} s"
            echo(f"{line} -> {', '.join(map(str, files))}" if files else line, err=writer.to_stdout)
            done += 1
            things = segmenter.thing_ids
            without_objects += not any(things is None or one.label_id in things for one in result.segments)
    finally:
        for path in writer.close(segmenter.labels, segmenter.thing_ids, categories) if done else ():
            echo(f"{done} photo{'s' if done > 1 else ''} -> {path}")
    if without_objects and segmenter.task != "semantic" and kept is None and threshold != 0:
        # A network that was trained for a short time is sure of nothing.
        least = thresholds.score_threshold(segmenter.task)
        where = f" in {without_objects} of {done} photos" if done > 1 else ""
        less = "a lower --threshold shows what is less sure"
        echo(f"note: no object with a score above {least:g} was found{where}; {less}", err=True)
    if done < len(names):
        photos_done = f"{done} photo{'' if done == 1 else 's'}"
        raise InputError(f"{photos_done} segmented, {len(names) - done} of {len(names)} photos could not be read")


def _written(
    results: Iterator[Segmentation], names: Sequence[str], labels: Sequence[str] | None, writer: Writer, ahead: int
) -> Iterator[tuple[str, Segmentation, float, list[Path]]]:
    """Write results, while the next ones are computed.

    Args:
        results: of the photos.
        names: of the photos.
        labels: the classes to keep; all if None.
        writer: what writes.
        ahead: how many results may wait to be written.

    Yields:
        In order the name of each photo, what is kept of its result, how long that took in seconds, and its files.
    """
    waiting: deque[tuple[str, Segmentation, float, Future[list[Path]]]] = deque()

    def first() -> tuple[str, Segmentation, float, list[Path]]:
        name, result, seconds, files = waiting.popleft()
        return name, result, seconds, files.result()

    stopped: BaseException | None = None
    with ThreadPoolExecutor(WRITERS) as pool:
        try:
            start = time.perf_counter()
            for result in results:
                name = names[0] if len(names) == 1 else result.name or STANDARD_INPUT
                name = name if name in names else STANDARD_INPUT
                result = replace(result, name="photo" if name[:5].lower() == "data:" else name)
                result = result if labels is None else result.only(labels)
                waiting.append((name, result, time.perf_counter() - start, pool.submit(writer.write, name, result)))
                while len(waiting) > ahead or (waiting and waiting[0][-1].done()):
                    yield first()
                start = time.perf_counter()
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            stopped = error  # what is being written then is told first
        while waiting:
            yield first()
    if stopped is not None:
        raise stopped

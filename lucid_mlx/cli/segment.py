"""`lucid-mlx segment`."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.backends import device_name
from lucid_mlx.cli.inputs import contents, find_photos, weights_files
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
from lucid_mlx.cli.outputs import SUFFIXES, make_writer
from lucid_mlx.cli.untrained import UNTRAINED, untrained_network
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.preprocessing import read_image
from lucid_mlx.preprocessing.preprocess import prefetch
from lucid_mlx.results.find_labels import find_label_ids
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.text import echo


@click.command()
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True)
@weights_option()
@task_option
@size_option
@dtype_option
@output_option("A file for one photo, a folder for more, - for standard output. Default: `segmented`.")
@click.option(
    "--format", "formats", default="overlay", show_default=True,
    help=f"What to write, separated by commas: {', '.join(SUFFIXES)}.",
)  # fmt: skip
@threshold_option
@click.option(
    "--mask-threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True,
    help="Probability from which a pixel belongs to a panoptic segment.",
)  # fmt: skip
@labels_option
@opacity_option
@batch_size_option
@force_option
def segment(
    photos: tuple[str, ...], weights: str | None, task: str | None, size: str | None, dtype: str | None,
    output: Path | None, formats: str, threshold: float | None, mask_threshold: float, labels: str | None,
    opacity: float, batch_size: int, force: bool,
) -> None:  # fmt: skip
    """Find the segments of each PHOTO and draw them over it.

    PHOTO is a picture, a folder of pictures, a pattern such as 'trip/*.jpg', an address, or - for standard input.
    Without --weights a small untrained network stands in, to show that everything works.

    \b
    Examples:
      lucid-mlx segment examples/coffee.jpg
      lucid-mlx segment trip/ --weights facebook/mask2former-swin-tiny-coco-panoptic -o pictures --format overlay,coco
    """
    names = find_photos(photos)
    options: dict[str, Any] = {"opacity": opacity}
    if weights is None:
        echo(f"{UNTRAINED}. Pass --weights for a trained one.", fg="yellow", err=True)
        options["title"] = UNTRAINED
    writer = make_writer(names, formats.split(","), output, options)
    writer.check_outputs(names, [*map(Path, names), *weights_files(weights)], force)
    start = time.perf_counter()
    segmenter = Segmenter(
        untrained_network() if weights is None else weights,
        task,
        dtype=dtype,
        size=size,
    )
    kept = None if labels is None else labels.split(",")
    for label in kept or ():
        find_label_ids(label, segmenter.labels)
    echo(
        f"{segmenter.task} segmentation in {str(segmenter.model.dtype).removeprefix('mlx.core.')} "
        f"on the {device_name()}; "
        f"{segmenter.image_config_note} "
        f"(ready in {time.perf_counter() - start:.1f} s)",
        err=True,
    )

    failed = 0
    thresholds = Thresholds(threshold, mask_threshold)
    with tqdm(total=len(names), unit="photo", disable=None if len(names) > 1 else True) as bar:
        for batch, images, errors in prefetch(_read(names, batch_size)):
            failed += len(errors)
            for error in errors:
                echo(f"Error: {error}", err=True)
            start = time.perf_counter()
            for name, result in zip(
                batch, segmenter.stream(images, batch_size=batch_size, thresholds=thresholds), strict=True
            ):
                result = replace(result, name=name)
                files = writer.write(result if kept is None else result.only(kept))
                height, width = result.map.shape
                line = f"{name}: {width}x{height}, {result.summary()}, {time.perf_counter() - start:.2f} s"
                line += f" -> {', '.join(map(str, files))}" if files and not writer.to_stdout else ""
                echo(line, err=writer.to_stdout)
                start = time.perf_counter()
            bar.update(len(batch) + len(errors))
    for path in writer.close():
        if not writer.to_stdout:
            echo(f"{len(names) - failed} photos -> {path}")
    if failed and len(names) > 1:
        raise InputError(f"{failed} of {len(names)} photos could not be read")


def _read(names: Sequence[str], batch_size: int) -> Iterator[tuple[list[str], list[np.ndarray], list[InputError]]]:
    """Read photos, a batch at a time; those that cannot be read come as errors, unless there is just one."""
    remaining = iter(names)
    while batch := list(islice(remaining, batch_size)):
        good, images, errors = [], [], []
        for name in batch:
            try:
                images.append(read_image(contents(name)))
                good.append(name)
            except InputError as error:
                if len(names) == 1:
                    raise
                errors.append(error)
        yield good, images, errors

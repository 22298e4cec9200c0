"""`lucid-mlx video`."""

from pathlib import Path

import click

from lucid_mlx.cli.inputs import required_weights, tell_unused, weights_files
from lucid_mlx.cli.options import (
    batch_size_option,
    destination,
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
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import check_output_files
from lucid_mlx.utils.text import echo


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="[OUT]", type=click.Path(path_type=Path), required=False)
@output_option("The video to write: OUT.")
@weights_option()
@task_option
@size_option
@dtype_option
@batch_size_option
@threshold_option
@labels_option
@opacity_option
@force_option
def video(
    source: Path, target: Path | None, output: Path | None, weights: str | None, task: str | None, size: str | None,
    dtype: str | None, batch_size: int, threshold: float | None, labels: str | None, opacity: float,
    force: bool,
) -> None:  # fmt: skip
    """Segment each frame of the video IN, draw the segments over it, and write the video OUT
    (or -o OUT): .mp4, .mov or .mkv.

    The audio is copied. Needs PyAV: pip install 'lucid-mlx[video]'

    \b
    Examples:
      lucid-mlx video street.mp4 -o segmented.mp4 --weights demo
      lucid-mlx video street.mp4 -o cars.mp4 --weights facebook/mask2former-swin-tiny-coco-panoptic --labels car
    """
    from lucid_mlx.video.io import VideoReader, check_suffix
    from lucid_mlx.video.segment_video import segment_video

    target = destination(target, output)
    if target is None:
        raise click.UsageError("name the video to write: -o OUT")
    check_suffix(target)
    with VideoReader(source):
        pass  # what is wrong with it is told first
    weights = required_weights(weights)
    check_output_files([target], [source, *weights_files(weights)], force)
    segmenter = Segmenter(weights, task, dtype=dtype, size=size)
    tell_unused(segmenter.task)
    frames = segment_video(
        segmenter,
        source,
        target,
        batch_size=batch_size,
        thresholds=Thresholds(threshold=threshold),
        labels=labels.split(",") if labels else (),
        opacity=opacity,
        progress=True,
    )
    echo(f"{source}: {frames} frames -> {target}")

"""`lucid-mlx video`."""

from pathlib import Path

import click
import mlx.core as mx

from lucid_mlx.cli.untrained import UNTRAINED, untrained_network
from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter

DTYPES = ("float32", "float16", "bfloat16")


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--weights", help="A name that `lucid-mlx weights list` shows, a folder, a checkpoint file, an address.")
@click.option("--task", type=click.Choice(TASKS), help="What to look for; what the weights are for, if left out.")
@click.option(
    "--size", help='How large the network sees a frame: "512", "640x480" or "800/1333" (shorter/longer side).'
)
@click.option("--dtype", type=click.Choice(DTYPES), help="What to compute in; that of the weights, if left out.")
@click.option("--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Frames that run together.")
@click.option("--threshold", type=float, help="Confidence from which a segment counts, 0 to 1.")
@click.option("--label", "labels", multiple=True, help="Draw this class alone; can be given several times.")
@click.option("--opacity", type=float, default=0.5, show_default=True, help="Of the colors, 0 to 1.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
def video(
    source: Path,
    target: Path,
    weights: str | None,
    task: str | None,
    size: str | None,
    dtype: str | None,
    batch_size: int,
    threshold: float | None,
    labels: tuple[str, ...],
    opacity: float,
    force: bool,
) -> None:
    """Segment each frame of the video IN, draw the segments over it, and write the video OUT: .mp4, .mov or .mkv.

    The sound stays as it is. Needs PyAV: pip install 'lucid-mlx[video]'

    Without --weights a small untrained network stands in, to show that everything works.

    \b
    Examples:
      lucid-mlx video street.mp4 segmented.mp4
      lucid-mlx video street.mp4 cars.mp4 --weights facebook/mask2former-swin-tiny-coco-panoptic --label car
    """
    from lucid_mlx.video.io import VideoReader, check_ending
    from lucid_mlx.video.segment_video import segment_video

    check_ending(target)
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise InputError(f"{target} is a folder; expected the name of a video")
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target} is the video to read; choose another name")
    if target.exists() and not force:
        raise InputError(f"{target} exists already; choose another name or pass --force")
    with VideoReader(source):
        pass  # a bad one is told before weights are downloaded
    if weights is None:
        if dtype is not None:
            raise InputError("--dtype goes with --weights")
        click.secho(f"{UNTRAINED}. Pass --weights for a trained one.", fg="yellow", err=True)
    segmenter = Segmenter(
        untrained_network() if weights is None else weights,
        task,
        dtype=None if dtype is None else getattr(mx, dtype),
        size=size,
    )
    frames = segment_video(
        segmenter,
        source,
        target,
        batch_size=batch_size,
        thresholds=Thresholds(threshold=threshold),
        labels=labels,
        opacity=opacity,
        note=UNTRAINED if weights is None else None,
        progress=True,
    )
    click.echo(f"{source}: {frames} frames -> {target}")

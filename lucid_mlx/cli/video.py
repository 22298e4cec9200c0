"""`lucid-mlx video`."""

import re
from pathlib import Path
from typing import Any, Literal

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
from lucid_mlx.cli.outputs import parse_formats
from lucid_mlx.cli.video_live import run_camera
from lucid_mlx.cli.video_outputs import FILM, SUFFIXES, check_places, place, write_exports
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results import VideoSegmentation
from lucid_mlx.utils.text import echo
from lucid_mlx.utils.validation import MAX_COUNT
from lucid_mlx.video import VideoSegmenter


class Time(click.ParamType[float]):
    """A time in a video: seconds, minutes:seconds or hours:minutes:seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return a time in seconds.

        Args:
            value: what was given.
            param: the option.
            ctx: of the command.

        Returns:
            The seconds.
        """
        if not re.fullmatch(r"(\d{1,4}:){0,2}\d{1,7}(\.\d*)?", str(value)):
            self.fail(f"{value!r} is not a time; expected seconds such as 90 or 2.5, or h:m:s such as 1:30", param, ctx)
        seconds = 0.0
        for part in str(value).split(":"):
            seconds = 60 * seconds + float(part)
        return seconds


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path), required=False)
@click.argument("target", metavar="[OUT]", type=click.Path(path_type=Path), required=False)
@output_option(
    "What to write, OUT: a video, or the file of another format; of masks a folder; of several formats a folder."
)
@click.option(
    "--format", "formats", default=FILM, show_default=True,
    help=f"What to write, separated by commas: {', '.join(SUFFIXES)}.",
)  # fmt: skip
@weights_option()
@task_option
@size_option
@dtype_option
@batch_size_option
@threshold_option
@labels_option
@opacity_option
@click.option(
    "--mode", type=click.Choice(("online", "clip")),
    help="Frame by frame, or many frames at once. Default: what the weights were trained for.",
)  # fmt: skip
@click.option(
    "--association", type=click.Choice(("segments", "minvis")), default="segments", show_default=True,
    help="How objects are followed online: what was found from frame to frame, or MinVIS, which reads all of the film "
    "before the first result.",
)  # fmt: skip
@click.option("--start", type=Time(), default=0.0, help="Where to begin: seconds, or h:m:s.")
@click.option("--end", type=Time(), help="Where to stop: seconds, or h:m:s. Default: the end of the video.")
@click.option(
    "--every", type=click.IntRange(1, MAX_COUNT), default=1, show_default=True,
    help="Take every so many-th frame: 2 for every second one.",
)  # fmt: skip
@click.option("--frames", "max_frames", type=click.IntRange(1, MAX_COUNT), help="Take at most so many frames.")
@click.option(
    "--camera",
    help="In place of IN the number of a camera, from 0, or a file that plays in its place: a page for the browser "
    "shows what it sees, and -o OUT writes it too. Ctrl-C ends it.",
)
@force_option
def video(
    source: Path | None, target: Path | None, output: Path | None, formats: str, weights: str | None, task: str | None,
    size: str | None, dtype: str | None, batch_size: int, threshold: float | None, labels: str | None, opacity: float,
    mode: Literal["clip", "online"] | None, association: Literal["segments", "minvis"], start: float,
    end: float | None, every: int, max_frames: int | None, camera: str | None, force: bool,
) -> None:  # fmt: skip
    """Segment each frame of the video IN, draw the segments over it, and write the video OUT
    (or -o OUT): .mp4, .mov or .mkv. Other formats have the tracks and their masks.

    The audio is copied. Needs PyAV: pip install 'lucid-mlx[video]'

    \b
    Examples:
      lucid-mlx video street.mp4 -o segmented.mp4 --weights demo
      lucid-mlx video street.mp4 -o cars.mp4 --weights facebook/mask2former-swin-tiny-coco-panoptic --labels car
      lucid-mlx video street.mp4 -o part.mp4 --weights demo --start 1:30 --end 2:00 --every 2
      lucid-mlx video street.mp4 -o found/ --weights demo --format mp4,json,masks
      lucid-mlx video --camera 0 --weights demo
    """
    from lucid_mlx.video.reader import VideoReader
    from lucid_mlx.video.segment_video import segment_video

    kinds = parse_formats(formats, SUFFIXES)
    if camera is not None:
        if source is not None or kinds != [FILM]:
            raise click.UsageError("--camera goes without IN and with the format mp4 alone; -o OUT names what to write")
        run_camera(camera, output, weights, task, size, dtype, threshold, labels, opacity, max_frames, force)
        return
    if source is None:
        raise click.MissingParameter(param_hint="'IN'", param_type="argument", ctx=click.get_current_context())
    target = destination(target, output)
    if target is None:
        raise click.UsageError("name the video to write: -o OUT")
    places = place(kinds, target, source)
    part: dict[str, Any] = {"start": start, "end": end, "every": every, "max_frames": max_frames}
    with VideoReader(source, **part):
        pass  # what is wrong with it is told first
    weights = required_weights(weights)
    check_places(places, [source, *weights_files(weights)], force)
    segmenter = VideoSegmenter(weights, task, mode, association=association, dtype=dtype, size=size)
    unused = {"opacity": "without the format mp4"} if FILM not in kinds else {}
    tell_unused(segmenter.segmenter.task, unused)
    result = None
    if kinds != [FILM]:
        result = VideoSegmentation(segmenter.segmenter.task, segmenter.segmenter.labels, source.name, source)
    count = segment_video(
        segmenter,
        source,
        places.get(FILM),
        **part,
        batch_size=batch_size,
        thresholds=Thresholds(threshold=threshold),
        labels=labels.split(",") if labels else (),
        opacity=opacity,
        result=result,
        progress=True,
    )
    if result is not None:
        write_exports(result, places, segmenter.segmenter.category_ids)
    found = "" if result is None else f", {result.summary()}"
    written = ", ".join(map(str, places.values()))
    echo(f"{source}: {'1 frame' if count == 1 else f'{count} frames'}{found} -> {written}")

"""`lucid-mlx video --camera`."""

from pathlib import Path

import numpy as np

from lucid_mlx.cli.inputs import required_weights, tell_unused, weights_files
from lucid_mlx.cli.live_page import LivePage
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results import Segmentation
from lucid_mlx.utils.files import check_output_files
from lucid_mlx.utils.text import echo
from lucid_mlx.video import VideoSegmenter

UNUSED = ("start", "end", "every", "batch_size", "mode", "association")  # options of a file


def run_camera(
    source: str, target: Path | None, weights: str | None, task: str | None, size: str | None, dtype: str | None,
    threshold: float | None, labels: str | None, opacity: float, max_frames: int | None, force: bool,
) -> None:  # fmt: skip
    """Show what a camera sees with its segments on a page, and write it; arguments as of `lucid-mlx video`."""
    from lucid_mlx.video.draw_video import Drawing
    from lucid_mlx.video.live import Camera, segment_live
    from lucid_mlx.video.writer import check_suffix

    if target is not None:
        check_suffix(target)
    with Camera(source) as camera:
        weights = required_weights(weights)
        if target is not None:  # a camera's number is no file, which does not matter
            check_output_files([target], [Path(source), *weights_files(weights)], force)
        segmenter = VideoSegmenter(weights, task, "online", dtype=dtype, size=size)
        tell_unused(segmenter.segmenter.task, dict.fromkeys(UNUSED, "with a camera"))
        drawing = Drawing(segmenter.segmenter.labels, {"opacity": opacity})
        kept = labels.split(",") if labels else None

        def draw(frame: Segmentation) -> np.ndarray:
            return drawing(frame if kept is None else frame.only(kept))

        with LivePage() as page:
            echo(f"Open {page.address} in a browser; Ctrl-C ends it", err=True)
            thresholds = Thresholds(threshold=threshold)
            count = segment_live(
                segmenter, camera, draw, page.show, target=target, max_frames=max_frames, thresholds=thresholds
            )
    frames = "1 frame" if count == 1 else f"{count} frames"
    written = "" if target is None else f" -> {target}"
    echo(f"camera {source}: {frames}, {camera.dropped} more came while the network ran{written}")

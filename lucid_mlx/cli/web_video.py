"""The part of the page that takes a video."""

import shutil
import threading
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

from lucid_mlx.cli.video_outputs import FILM, SUFFIXES, write_exports
from lucid_mlx.cli.web_files import AnswerFiles
from lucid_mlx.cli.web_parts import ONE_AT_A_TIME, errors_on_the_page, task_and_threshold
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results import VideoSegmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.optional_dependency import require

MAX_FRAMES = 1000  # 40 seconds of 25 frames


class _StoppedError(Exception):
    """The video was taken away, or the page closed."""


def add_video(segmenter: Segmenter, files: AnswerFiles) -> Any:
    """Add the place for a video to the page that is being made.

    Args:
        segmenter: finds the segments; its task is the one that is chosen at first.
        files: of the page.

    Returns:
        What to call with the session of a page that was closed.
    """
    import gradio as gr

    stops: dict[str, threading.Event] = {}  # by session

    def forget(session: str) -> None:
        stops.pop(session, threading.Event()).set()
        files.forget(_of_video(session))

    def segment(
        path: str | None,
        task: str,
        threshold: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # where gradio looks for it
    ) -> Any:
        session = request.session_hash or ""
        if path is None:
            raise gr.Error("drop a video first", print_exception=False)
        stop = stops[session] = threading.Event()

        def tell(number: int, total: int | None) -> None:
            if stop.is_set():
                raise _StoppedError
            progress((number, total), unit="frames")

        chosen = copy(segmenter)  # with the same network, compiled once
        chosen.task = task
        try:
            with errors_on_the_page(path):
                if not Path(path).exists():
                    raise InputError(f"{Path(path).name} is not here any more; drop it again")
                require("av", "video")
                with files.answer(_of_video(session), path) as place:
                    return _answer(chosen, Path(path), place, Thresholds(threshold=threshold), tell)
        except _StoppedError:
            return gr.skip(), gr.skip(), gr.skip()

    def cleared(request: gr.Request) -> Any:
        forget(request.session_hash or "")
        return None, "", None

    with gr.Row():
        with gr.Column(scale=1):
            clip = gr.File(label="Video")
            task, threshold = task_and_threshold(segmenter)
            start = gr.Button("Segment the video", variant="primary")
            gr.Markdown(
                f"Of a video the first {MAX_FRAMES} frames are taken; `lucid-mlx video` takes all of any length."
            )
            results = gr.File(label="Results", file_count="multiple", interactive=False)
        with gr.Column(scale=3):
            film = gr.Video(label="Tracks", interactive=False)
            summary = gr.Textbox(label="Found in the video", interactive=False)
    start.click(
        segment, [clip, task, threshold], [film, summary, results],
        concurrency_id=ONE_AT_A_TIME, api_visibility="private",
    )  # fmt: skip
    clip.clear(cleared, None, [film, summary, results], api_visibility="private")
    return forget


def _of_video(session: str) -> str:
    """Return the name under which the files of a session's video are kept, beside those of its photo."""
    return f"{session} video"


def _answer(
    segmenter: Segmenter, path: Path, place: Path, thresholds: Thresholds, tell: Callable[[int, int | None], None]
) -> tuple[str, str, list[str]]:
    """Segment a video, and write what there is to download.

    Args:
        segmenter: finds the segments.
        path: of the video.
        place: folder for the files.
        thresholds: which segments to keep.
        tell: called with the number of each frame that is done, and with how many there are.

    Returns:
        The film with its segments; a line that says what was found; and the files.
    """
    from lucid_mlx.video.reader import VideoReader
    from lucid_mlx.video.segment_video import segment_video
    from lucid_mlx.video.video_segmenter import VideoSegmenter

    with VideoReader(path) as reader:
        total = reader.frame_count
    shortened = total is None or total > MAX_FRAMES
    result = VideoSegmentation(segmenter.task, segmenter.labels, path.name)
    places = {name: place / f"{path.stem}{suffix}" for name, suffix in SUFFIXES.items()}
    count = segment_video(
        VideoSegmenter(segmenter),
        path,
        places[FILM],
        max_frames=MAX_FRAMES if shortened else None,
        thresholds=thresholds,
        result=result,
        on_frame=tell,
    )
    write_exports(result, places, segmenter.category_ids)
    masks = places["masks"]
    places["masks"] = Path(shutil.make_archive(str(masks), "zip", masks))
    shutil.rmtree(masks)
    frames = "1 frame" if count == 1 else f"{count} frames"
    if shortened and count == MAX_FRAMES:
        frames = f"the first {frames}{f' of {total}' if total else ''}"
    return str(places[FILM]), f"{frames}: {result.summary()}", list(map(str, places.values()))

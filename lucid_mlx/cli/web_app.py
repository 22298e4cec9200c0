"""A page in the browser, on this machine alone. Needs gradio, which the extra `app` brings."""

import html
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lucid_mlx.cli.web_files import AnswerFiles
from lucid_mlx.cli.web_guard import OnlyThisMachine
from lucid_mlx.cli.web_video import ONE_AT_A_TIME, add_video
from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import DEFAULT_THRESHOLDS, Thresholds
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import temporary_folder
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.text import printable
from lucid_mlx.visualization.colors import class_colors, segment_colors

if TYPE_CHECKING:
    import gradio as gr

HOST = "127.0.0.1"
MAX_SIDE = 1280  # longer side of the picture on the page; the downloads have all pixels
TINT_OPACITY = 0.6
MAX_UPLOAD_BYTES = 100 << 20

Annotation = tuple[np.ndarray | tuple[int, int, int, int], str]  # as AnnotatedImage has it; ours are all masks


def serve(segmenter: Segmenter, ready: Callable[[str], None], *, port: int | None = None) -> None:
    """Serve a page that segments the photos that are dropped on it, until Ctrl-C.

    It listens on 127.0.0.1 alone, and answers no other page in the browser. A photo and its results lie in a temporary
    folder until the next photo, and until the page is closed; the folder goes when this ends, or with the next start
    if it was killed.

    Args:
        segmenter: finds the segments; its task is the one that is chosen at first.
        ready: called with the page's address when it is there.
        port: where to listen; the first free one from 7860 on if None.

    Raises:
        InputError: if gradio is missing, or no port is free.
    """
    with temporary_folder(Path(tempfile.gettempdir()).resolve()) as folder:
        # Gradio reads these when it is imported and when it is used. Left alone it sends statistics to its makers. What
        # a user has set could open the page to other machines, or let it show other files.
        for name in [name for name in os.environ if name.startswith("GRADIO_")]:
            del os.environ[name]
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_RUN_HISTORY": "False",
            "GRADIO_TEMP_DIR": str(folder),
        }
        require("gradio", "app")
        page = build(segmenter, folder)
        try:
            _, address, _ = page.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
                theme=_theme(),
                max_file_size=MAX_UPLOAD_BYTES,
                app_kwargs={"lifespan": _guarded},
            )
        except OSError as error:
            taken = "none of the ports from 7860 on is free" if port is None else f"port {port} is not free"
            raise InputError(f"{taken}; choose another") from error
        try:
            ready(address)
            page.block_thread()
        finally:
            page.close(verbose=False)


@asynccontextmanager
async def _guarded(app: Any) -> AsyncIterator[None]:
    """Put the guard before all that gradio has; by `middleware` it would come after gradio's answers to other pages."""
    app.middleware_stack = OnlyThisMachine(app.middleware_stack)
    yield


def _theme() -> Any:
    """Return gradio's theme with the system's fonts: its own come from elsewhere."""
    import gradio as gr

    return gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def build(segmenter: Segmenter, folder: Path) -> "gr.Blocks":
    """Make the page.

    Args:
        segmenter: finds the segments.
        folder: gradio's for temporary files.
    """
    import gradio as gr

    def of_task(task: str) -> Any:
        return gr.Slider(value=DEFAULT_THRESHOLDS.get(task, 0.0), visible=task in DEFAULT_THRESHOLDS)

    def segment(path: str | None, task: str, threshold: float, request: gr.Request) -> Any:
        session = request.session_hash or ""
        if path is None:
            files.forget(session)
            return None, "", gr.DownloadButton(interactive=False), gr.DownloadButton(interactive=False)
        name, stem = Path(path).name, Path(path).stem
        chosen = copy(segmenter)  # with the same network, compiled once
        chosen.task = task
        try:
            if not Path(path).exists():
                raise InputError(f"{name} is not here any more; drop it again")
            with files.answer(session, path) as place:
                result = chosen(path, thresholds=Thresholds(threshold=threshold))
                result = replace(result, name=name)
                drawn = result.save(place / f"{stem}.png")
                listed = place / f"{stem}.json"
                listed.write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
        except InputError as error:
            told = html.escape(str(error).replace(path, name))  # gradio takes it for HTML
            raise gr.Error(told, duration=None, print_exception=False) from error
        value, colors = annotations(result)
        return (
            gr.AnnotatedImage(value=value, color_map=colors),
            result.summary(),
            gr.DownloadButton(value=drawn, interactive=True),
            gr.DownloadButton(value=listed, interactive=True),
        )

    def ended(request: gr.Request) -> None:
        session = request.session_hash or ""
        files.forget(session)
        forget_video(session)

    with gr.Blocks(title="lucid-mlx", analytics_enabled=False) as page:
        files = AnswerFiles(folder, page.upload_file_set)
        page.unload(ended)
        with gr.Tab("Photo"), gr.Row():
            with gr.Column(scale=1):
                photo = gr.File(label="Photo")
                task = gr.Radio(list(TASKS), value=segmenter.task, label="Task")
                threshold = gr.Slider(
                    0.0, 1.0, DEFAULT_THRESHOLDS.get(segmenter.task, 0.0), step=0.01,
                    label="Confidence from which a segment counts", visible=segmenter.task in DEFAULT_THRESHOLDS,
                )  # fmt: skip
                picture = gr.DownloadButton("Download the picture", interactive=False)
                data = gr.DownloadButton("Download the JSON", interactive=False)
            with gr.Column(scale=3):
                segments = gr.AnnotatedImage(label="Segments")
                summary = gr.Textbox(label="Found", interactive=False)
        with gr.Tab("Video"):
            forget_video = add_video(segmenter, files)
        run: dict[str, Any] = {
            "fn": segment,
            "inputs": [photo, task, threshold],
            "outputs": [segments, summary, picture, data],
            "api_visibility": "private",
            "concurrency_id": ONE_AT_A_TIME,
        }
        # While the slider moves, only its latest place waits for its turn.
        gr.on([photo.upload, photo.clear, threshold.input], trigger_mode="always_last", **run)
        task.input(of_task, task, threshold, api_visibility="private").then(**run)
    return page


def annotations(result: Segmentation) -> tuple[tuple[Image.Image, list[Annotation]], dict[str, str]]:
    """Return what gradio's AnnotatedImage shows, in the colors of `result.draw()`.

    Returns:
        A picture and, of each segment that is visible in it, the mask, (H, W) from 0 to 1, and the name; and the names'
        colors. A name has its class, its number if there are several of that, and its score or, of a semantic
        segmentation, its fraction of the picture.
    """
    height, width = result.map.shape
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows, columns = (np.arange(new) * old // new for new, old in ((size[1], height), (size[0], width)))
    small = result.map[rows][:, columns]

    label_ids = [segment.label_id for segment in result.distinct]
    # As `draw` has it: a class gets its color by the number, not by the size, of what is there.
    colors = segment_colors(label_ids, class_colors(result.labels, set(label_ids)))
    of_class, numbers = Counter(label_ids), Counter[int]()
    annotated: list[Annotation] = []
    named: dict[str, str] = {}
    for segment, (red, green, blue) in zip(result.distinct, colors, strict=True):
        numbers[segment.label_id] += 1
        mask = small == segment.id
        if not mask.any():
            continue
        number = f" {numbers[segment.label_id]}" if of_class[segment.label_id] > 1 else ""
        measure = f"{segment.area / result.map.size:.0%}" if segment.score is None else f"{segment.score:.2f}"
        name = f"{printable(segment.label)}{number}, {measure}"
        annotated.append((TINT_OPACITY * mask, name))
        named[name] = f"#{red:02x}{green:02x}{blue:02x}"
    return (Image.fromarray(result.image).resize(size), annotated), named

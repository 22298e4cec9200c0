"""The part of the page that shows what two checkpoints find in a photo, side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lucid_mlx.cli.web_files import AnswerFiles
from lucid_mlx.cli.web_parts import ONE_AT_A_TIME, errors_on_the_page, segment_upload, task_and_threshold
from lucid_mlx.cli.web_picture import annotations
from lucid_mlx.postprocessing.inputs import DEFAULT_THRESHOLDS
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.text import printable
from lucid_mlx.visualization import side_by_side


def add_comparison(segmenters: Sequence[Segmenter], names: Sequence[str], files: AnswerFiles) -> Any:
    """Add the place for a photo that both segment to the page that is being made.

    Args:
        segmenters: two; the task of the first is the one that is chosen at first.
        names: of their weights.
        files: of the page.

    Returns:
        What to call with the session of a page that was closed.
    """
    import gradio as gr

    seen: dict[str, list[Segmentation]] = {}  # what both found, by session
    names = [printable(name) for name in names]

    def forget(session: str) -> None:
        seen.pop(session, None)
        files.forget(_of_comparison(session))

    def show(session: str, path: str) -> Any:
        results = seen[session]
        with files.answer(_of_comparison(session), path) as place:
            drawn = [result.draw(title=name) for result, name in zip(results, names, strict=True)]
            picture = place / "compared.png"
            side_by_side(np.asarray(drawn[0]), drawn[1]).save(picture)
            shown = [annotations(result).update() for result in results]
        return *shown, *(result.summary() for result in results), agreement(*results), _button(str(picture))

    def segment(path: str | None, task: str, threshold: float, request: gr.Request) -> Any:
        session = request.session_hash or ""
        if path is None:
            forget(session)
            return None, None, "", "", "", _button(None)
        with errors_on_the_page(path), files.answer(_of_comparison(session), path):
            seen[session] = [segment_upload(segmenter, path, task, threshold) for segmenter in segmenters]
        return show(session, path)

    def again(path: str | None, task: str, request: gr.Request) -> Any:
        if path is None:
            return [gr.skip()] * len(outputs)
        return segment(path, task, DEFAULT_THRESHOLDS.get(task, 0.0), request)

    def moved(path: str | None, threshold: float, request: gr.Request) -> Any:
        session = request.session_hash or ""
        if path is None or session not in seen or seen[session][0].task not in DEFAULT_THRESHOLDS:
            return [gr.skip()] * len(outputs)
        with errors_on_the_page(path):
            seen[session] = [result.with_threshold(threshold) for result in seen[session]]
            return show(session, path)

    with gr.Row():
        with gr.Column(scale=1):
            photo = gr.File(label="Photo")
            task, threshold = task_and_threshold(segmenters[0])
            agree = gr.Textbox(label="Agreement", interactive=False)
            download = gr.DownloadButton("Download both pictures", interactive=False)
        pictures, summaries = [], []
        for name in names:
            with gr.Column(scale=2):
                pictures.append(gr.AnnotatedImage(label=name))
                summaries.append(gr.Textbox(label=f"Found by {name}", interactive=False))
    outputs = [*pictures, *summaries, agree, download]
    common: dict[str, Any] = {
        "outputs": outputs, "api_visibility": "private", "concurrency_id": ONE_AT_A_TIME,
    }  # fmt: skip
    gr.on([photo.upload, photo.clear], segment, [photo, task, threshold], **common)
    task.input(again, [photo, task], **common)
    threshold.input(moved, [photo, threshold], trigger_mode="always_last", **common)
    return forget


def agreement(one: Segmentation, other: Segmentation) -> str:
    """Say on how many pixels two results have the same class; classes are compared by their first name.

    Args:
        one: a result.
        other: another one of the same photo.

    Returns:
        The words.
    """
    numbers: dict[str, int] = {}
    maps = []
    for result in (one, other):
        classes = np.full(max((segment.id for segment in result.segments), default=0) + 2, -1)  # the last is of -1
        for segment in result.segments:
            key = segment.label.split(",")[0].strip().lower()
            classes[segment.id] = numbers.setdefault(key, len(numbers))
        maps.append(classes[result.map])
    return f"the same class on {(maps[0] == maps[1]).mean():.1%} of the pixels"


def _button(path: str | None) -> Any:
    import gradio as gr

    return gr.DownloadButton(value=path, interactive=path is not None)


def _of_comparison(session: str) -> str:
    """Return the name under which the files of a session's comparison are kept, beside those of its photos."""
    return f"{session} comparison"

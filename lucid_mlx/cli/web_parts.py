"""What the parts of the page have in common."""

import html
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import DEFAULT_THRESHOLDS
from lucid_mlx.results import Segmentation
from lucid_mlx.segmenter import Segmenter

ONE_AT_A_TIME = "answers"  # as `AnswerFiles` needs; also the network has one thread


def task_and_threshold(segmenter: Segmenter) -> tuple[Any, Any]:
    """Put the task and the threshold on the page; the threshold is there for tasks that take one."""
    import gradio as gr

    def of_task(task: str) -> Any:
        return gr.Slider(value=DEFAULT_THRESHOLDS.get(task, 0.0), visible=task in DEFAULT_THRESHOLDS)

    task = gr.Radio(list(TASKS), value=segmenter.task, label="Task")
    threshold = gr.Slider(
        0.0, 1.0, DEFAULT_THRESHOLDS.get(segmenter.task, 0.0), step=0.01,
        label="Confidence from which a segment counts", visible=segmenter.task in DEFAULT_THRESHOLDS,
    )  # fmt: skip
    task.input(of_task, task, threshold, api_visibility="private")
    return task, threshold


@contextmanager
def errors_on_the_page(path: str = "") -> Iterator[None]:
    """Show bad input on the page, with the photo's name instead of its path."""
    import gradio as gr

    try:
        yield
    except InputError as error:
        told = str(error).replace(path, Path(path).name) if path else str(error)
        # gradio takes it for HTML
        raise gr.Error(html.escape(told), duration=None, print_exception=False) from error


def segment_upload(segmenter: Segmenter, path: str, task: str, threshold: float | None) -> Segmentation:
    """Segment an uploaded photo.

    Args:
        segmenter: finds the segments.
        path: of the photo.
        task: what to find.
        threshold: minimum score of a segment; None for the task's default.

    Returns:
        The result, with what `with_threshold` needs, and the photo's name.
    """
    if not Path(path).exists():
        raise InputError(f"{Path(path).name} is not here any more; drop it again")
    chosen = copy(segmenter)  # with the same network, compiled once
    chosen.task = task
    chosen.keep_candidates = True
    return replace(chosen(path, threshold=threshold if task in DEFAULT_THRESHOLDS else None), name=Path(path).name)

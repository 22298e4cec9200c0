"""The part of the page that takes photos."""

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from lucid_mlx.cli.formats import FORMATS
from lucid_mlx.cli.web_edits import Edits
from lucid_mlx.cli.web_files import AnswerFiles
from lucid_mlx.cli.web_parts import ONE_AT_A_TIME, errors_on_the_page, segment_upload, task_and_threshold
from lucid_mlx.cli.web_picture import ALL_FORMATS, annotations, write
from lucid_mlx.errors import InputError
from lucid_mlx.postprocessing.inputs import DEFAULT_THRESHOLDS
from lucid_mlx.preprocessing import read_image
from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.text import examples, printable

THUMBNAIL_SIDE = 256


@dataclass
class Session:
    """What somebody sees, and has changed.

    Attributes:
        photos: files that were dropped and can be read.
        photo: that which is shown.
        found: all that the network found in it.
        segments: those in the picture, in its order.
        chosen: the segment that was clicked, as the network has it.
        edits: of each photo and task.
    """

    photos: list[str]
    photo: str
    found: Segmentation
    segments: list[Segment] = field(default_factory=list)
    chosen: Segment | None = None
    edits: dict[tuple[str, str], Edits] = field(default_factory=dict)

    @property
    def edited(self) -> Edits:
        """The changes to what is shown."""
        return self.edits.setdefault((self.photo, self.found.task), Edits())


def add_photos(segmenter: Segmenter, files: AnswerFiles) -> Any:
    """Add the place for photos to the page that is being made.

    Args:
        segmenter: finds the segments; its task is the one that is chosen at first.
        files: of the page.

    Returns:
        What to call with the session of a page that was closed.
    """
    import gradio as gr

    sessions: dict[str, Session] = {}

    def forget(session: str) -> None:
        sessions.pop(session, None)
        files.forget(session)
        files.forget(_of_photos(session))

    def show(session: str, format: str) -> dict[Any, Any]:
        """Show what a session has, and write what can be downloaded. The network has nothing to do with it."""
        seen = sessions[session]
        result = seen.edited.apply(seen.found)
        drawn = annotations(result)
        seen.segments = drawn.segments
        chosen = None if seen.chosen is None else _by_id(result, seen.chosen.id)
        hidden = len(seen.edited.hidden_in(seen.found))
        exported = None
        with files.answer(session, seen.photo) as place:
            whole = write(result, format, place, segmenter)
            if chosen is not None:
                exported = write(result.only(chosen), format, place, segmenter, printable(chosen.label))
        return {
            picture: drawn.update(),
            summary: result.summary(),
            download: gr.DownloadButton(value=whole, interactive=True),
            panel: gr.Group(visible=chosen is not None),
            name: gr.Textbox(value="" if chosen is None else chosen.label),
            export: gr.DownloadButton(value=exported, interactive=exported is not None),
            all_again: gr.Button(f"Show what is hidden ({hidden})", visible=hidden > 0),
        }

    def segment(session: str, photos: list[str], photo: str, task: str, threshold: float, format: str) -> Any:
        seen = sessions.get(session)
        with errors_on_the_page(photo):
            try:
                found = segment_upload(segmenter, photo, task, threshold)
            except InputError:
                with files.answer(session, photo):  # which removes the photo
                    raise
            edits = seen.edits if seen else {}
            kept = {key: value for key, value in edits.items() if key[0] in photos}
            sessions[session] = Session(photos, photo, found, edits=kept)
            return show(session, format)

    def dropped(paths: list[str] | None, task: str, threshold: float, format: str, request: gr.Request) -> Any:
        session = request.session_hash or ""
        if not paths:
            forget(session)
            empty = gr.DownloadButton(value=None, interactive=False)
            return {
                gallery: gr.Gallery(value=None, visible=False), picture: None, summary: "", download: empty,
                panel: gr.Group(visible=False), name: "", export: empty, all_again: gr.Button(visible=False),
            }  # fmt: skip
        before = sessions[session].photos if session in sessions else []
        photos, shown = paths, gr.Gallery(value=None, visible=False)
        if len(paths) > 1:
            with errors_on_the_page(), files.answer(_of_photos(session), *paths) as place:
                photos, thumbnails = _thumbnails(paths, place)
            shown = gr.Gallery(value=thumbnails, visible=True, selected_index=None)
        else:
            files.forget(_of_photos(session))
        first = next((path for path in photos if path not in before), photos[0])
        return {gallery: shown, **segment(session, photos, first, task, threshold, format)}

    def picked(event: gr.SelectData, task: str, threshold: float, format: str, request: gr.Request) -> Any:
        seen = _of(sessions, request)
        photo = seen.photos[event.index]
        return segment(request.session_hash or "", seen.photos, photo, task, threshold, format)

    def again(task: str, format: str, request: gr.Request) -> Any:
        session = request.session_hash or ""
        if session not in sessions:
            return {summary: gr.skip()}
        seen = sessions[session]
        return segment(session, seen.photos, seen.photo, task, DEFAULT_THRESHOLDS.get(task, 0.0), format)

    def moved(threshold: float, format: str, request: gr.Request) -> Any:
        session = request.session_hash or ""
        if session not in sessions or sessions[session].found.task not in DEFAULT_THRESHOLDS:
            return {summary: gr.skip()}
        seen = sessions[session]
        with errors_on_the_page():
            seen.found = seen.found.with_threshold(threshold)
            seen.chosen = None
            return show(session, format)

    def clicked(event: gr.SelectData, format: str, request: gr.Request) -> Any:
        seen = _of(sessions, request)
        if event.index < len(seen.segments):
            seen.chosen = _by_id(seen.found, seen.segments[event.index].id)
        return show(request.session_hash or "", format)

    def named(text: str, format: str, request: gr.Request) -> Any:
        seen = _of(sessions, request)
        if seen.chosen is not None:
            seen.edited.name(seen.chosen, text)
        return show(request.session_hash or "", format)

    def hid(format: str, request: gr.Request) -> Any:
        seen = _of(sessions, request)
        if seen.chosen is not None:
            seen.edited.hide(seen.chosen)
            seen.chosen = None
        return show(request.session_hash or "", format)

    def showed_all(format: str, request: gr.Request) -> Any:
        _of(sessions, request).edited.hidden.clear()
        return show(request.session_hash or "", format)

    def other_format(format: str, request: gr.Request) -> Any:
        session = request.session_hash or ""
        return show(session, format) if session in sessions else {summary: gr.skip()}

    with gr.Row():
        with gr.Column(scale=1):
            photos = gr.File(label="Photos", file_count="multiple")
            gallery = gr.Gallery(
                label="Click a photo to see its segments", columns=4, height=220, visible=False, allow_preview=False,
                interactive=False, buttons=[],
            )  # fmt: skip
            task, threshold = task_and_threshold(segmenter)
            format = gr.Dropdown([*FORMATS, ALL_FORMATS], value="overlay", label="Format")
            download = gr.DownloadButton("Download what is shown", interactive=False)
        with gr.Column(scale=3):
            picture = gr.AnnotatedImage(label="Segments: click one to name, hide or export it", height=600)
            summary = gr.Textbox(label="Found", interactive=False)
            with gr.Group(visible=False) as panel, gr.Row(equal_height=True):
                name = gr.Textbox(label="Name of the segment; Enter sets it", max_lines=1, scale=2)
                hide = gr.Button("Hide the segment")
                export = gr.DownloadButton("Download the segment", interactive=False)
            all_again = gr.Button("Show what is hidden", visible=False)
    outputs = [picture, summary, download, panel, name, export, all_again]
    common: dict[str, Any] = {
        "outputs": outputs, "api_visibility": "private", "concurrency_id": ONE_AT_A_TIME,
    }  # fmt: skip
    gr.on(
        [photos.upload, photos.clear, photos.delete], dropped, [photos, task, threshold, format],
        **{**common, "outputs": [gallery, *outputs]},
    )  # fmt: skip
    gallery.select(picked, [task, threshold, format], **common)
    task.input(again, [task, format], **common)
    # While the slider moves, only its latest place waits for its turn.
    threshold.input(moved, [threshold, format], trigger_mode="always_last", **common)
    picture.select(clicked, format, **common)
    name.submit(named, [name, format], **common)
    hide.click(hid, format, **common)
    all_again.click(showed_all, format, **common)
    format.input(other_format, format, **common)
    return forget


def _of(sessions: dict[str, Session], request: Any) -> Session:
    import gradio as gr

    seen = sessions.get(request.session_hash or "")
    if seen is None:
        raise gr.Error("drop a photo first", print_exception=False)
    return seen


def _of_photos(session: str) -> str:
    """Return the name under which all photos of a session are kept, beside the answer about one of them."""
    return f"{session} photos"


def _by_id(result: Segmentation, segment_id: int) -> Segment | None:
    return next((segment for segment in result.segments if segment.id == segment_id), None)


def _thumbnails(paths: list[str], place: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Make small pictures of photos, and tell which cannot be read.

    Args:
        paths: of the photos.
        place: a folder for the pictures.

    Returns:
        The photos that can be read; and of each the file of its small picture, and its name.

    Raises:
        InputError: if none can be read.
    """
    import gradio as gr

    readable: list[str] = []
    thumbnails: list[tuple[str, str]] = []
    told: list[str] = []
    for number, path in enumerate(paths):
        try:
            small = Image.fromarray(read_image(path))
        except InputError as error:
            told.append(str(error).replace(path, Path(path).name))
            continue
        small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        small.save(place / f"{number}.png")
        readable.append(path)
        thumbnails.append((str(place / f"{number}.png"), Path(path).name))
    if not readable:
        raise InputError(f"none of the {len(paths)} photos can be read: {examples(told)}")
    if told:
        gr.Warning(html.escape(f"left out, {len(told)} of {len(paths)} photos: {examples(told)}"), duration=None)
    return readable, thumbnails

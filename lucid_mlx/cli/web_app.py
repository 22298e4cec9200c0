"""A page in the browser, on this machine alone. Needs gradio, which the extra `app` brings."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucid_mlx.cli.web_compare import add_comparison
from lucid_mlx.cli.web_files import AnswerFiles
from lucid_mlx.cli.web_guard import OnlyThisMachine
from lucid_mlx.cli.web_photos import add_photos
from lucid_mlx.cli.web_picture import POINTING
from lucid_mlx.cli.web_video import add_video
from lucid_mlx.errors import InputError
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import temporary_folder
from lucid_mlx.utils.optional_dependency import require

if TYPE_CHECKING:
    import gradio as gr

HOST = "127.0.0.1"
MAX_UPLOAD_BYTES = 100 << 20


def serve(
    segmenter: Segmenter,
    ready: Callable[[str], None],
    *,
    port: int | None = None,
    other: Segmenter | None = None,
    names: Sequence[str] = (),
) -> None:
    """Serve a page that segments the photos that are dropped on it, until Ctrl-C.

    It listens on 127.0.0.1 alone, and answers no other page in the browser. Photos and results lie in a temporary
    folder until the next ones, and until the page is closed; the folder goes when this ends, or with the next start
    if it was killed.

    Args:
        segmenter: finds the segments; its task is the one that is chosen at first.
        ready: called with the page's address when it is there.
        port: where to listen; the first free one from 7860 on if None.
        other: to compare with, if anything.
        names: of both, for the comparison.

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
        page = build(segmenter, folder, other, names)
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


def build(segmenter: Segmenter, folder: Path, other: Segmenter | None = None, names: Sequence[str] = ()) -> "gr.Blocks":
    """Make the page.

    Args:
        segmenter: finds the segments.
        folder: gradio's for temporary files.
        other: to compare with, if anything.
        names: of both, for the comparison.
    """
    import gradio as gr

    with gr.Blocks(title="lucid-mlx", analytics_enabled=False) as page:
        files = AnswerFiles(folder, page.upload_file_set)
        forgetting = []
        with gr.Tab("Photos"):
            forgetting.append(add_photos(segmenter, files))
        if other is not None:
            with gr.Tab("Compare"):
                forgetting.append(add_comparison((segmenter, other), names, files))
        with gr.Tab("Video"):
            forgetting.append(add_video(segmenter, files))

        def ended(request: gr.Request) -> None:
            for forget in forgetting:
                forget(request.session_hash or "")

        page.unload(ended)
        page.load(None, js=POINTING)
    return page

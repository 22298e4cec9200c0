"""A page for the browser that shows pictures as they come. It can be reached from this machine alone."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from lucid_mlx.cli.web_guard import REFUSAL, is_allowed
from lucid_mlx.errors import InputError

PAGE = b"""<!doctype html><meta charset="utf-8"><title>lucid-mlx</title>
<style>
body { margin: 0; background: #111 }
img { display: block; margin: auto; max-width: 100%; max-height: 100vh }
</style>
<img src="/pictures" alt="what the camera sees, with its segments">
"""
BOUNDARY = "picture"
QUALITY = 85  # of the JPEG


class LivePage:
    """Serves a page with the newest picture.

    Args:
        port: to listen on; None for any that is free.

    Attributes:
        address: of the page.

    Raises:
        InputError: if the port is taken.
    """

    def __init__(self, port: int | None = None):
        self._changed = threading.Condition()
        self._picture, self._number, self._closed = b"", 0, False
        handler = type("Handler", (_Handler,), {"page": self})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port or 0), handler)
        except OSError as error:
            raise InputError(f"port {port} cannot be used: {error.strerror}; give another one") from None
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, name="lucid-mlx-page", daemon=True).start()

    def __enter__(self) -> "LivePage":
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def show(self, image: np.ndarray) -> None:
        """Show a picture, (H, W, 3) uint8, RGB."""
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
        with self._changed:
            self._picture, self._number = buffer.getvalue(), self._number + 1
            self._changed.notify_all()

    def pictures(self) -> Iterator[bytes]:
        """Yield the newest picture as JPEG, each time that there is a newer one, until the page is closed."""
        seen = 0
        while True:
            with self._changed:
                while self._number == seen and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                picture, seen = self._picture, self._number
            yield picture


class _Handler(BaseHTTPRequestHandler):
    page: LivePage

    def do_GET(self) -> None:
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        port = self.connection.getsockname()[1]
        if not is_allowed({"type": "http", "method": "GET", "headers": headers, "server": ("127.0.0.1", port)}):
            self._answer(403, "text/plain; charset=utf-8", REFUSAL)
        elif self.path == "/":
            self._answer(200, "text/html; charset=utf-8", PAGE)
        elif self.path == "/pictures":
            self._stream()
        else:
            self._answer(404, "text/plain; charset=utf-8", b"There is one page here: /\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        try:
            for picture in self.page.pictures():
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
        except OSError:  # the browser has left
            pass

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

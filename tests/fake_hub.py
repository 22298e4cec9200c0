"""The parts of the Hugging Face hub's API that downloads use, served on 127.0.0.1."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


def commit_of(repository: str) -> str:
    """The only commit of a repository, which no other has."""
    return hashlib.sha1(repository.encode()).hexdigest()


@dataclass
class Hub:
    """Repositories of files in memory, and what is wrong with the server at the moment.

    Attributes:
        files: by repository, then by path.
        status: if not None, what every request is answered with.
        cut: send so many bytes of a file at most, then hang up; also for files outside of repositories.
        requests: (method, path) of all requests.
        before: called before a file is sent.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    status: int | None = None
    cut: int | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[], None] | None = None
    url: str = ""

    def start(self) -> "Hub":
        hub = self

        class Handler(_Handler):
            state = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def reset(self) -> None:
        self.files, self.status, self.cut, self.before = {}, None, None, None
        self.requests.clear()

    def add(self, repository: str, folder: Path, *names: str) -> None:
        """Put the files of a folder into a repository."""
        kept = {file.name: file.read_bytes() for file in folder.iterdir() if not names or file.name in names}
        self.files.setdefault(repository, {}).update(kept)

    def downloads(self) -> list[str]:
        """The files that were sent, or begun to be."""
        return [path for method, path in self.requests if method == "GET" and "/api/" not in path]


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, path = self.state, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path))
        if hub.status is not None:
            return self._error(hub.status, None)
        parts = path.strip("/").split("/")
        if parts[0] == "web":
            data = hub.files["web"].get("/".join(parts[1:]))
            return self._error(404, None) if data is None else self._send(data, body, {})
        repository, commit = hub.files.get("/".join(parts[:2])), commit_of("/".join(parts[:2]))
        if repository is None:
            return self._error(404, "RepoNotFound")
        if parts[2] != "resolve" or parts[3] not in ("main", commit):
            return self._error(404, "RevisionNotFound")
        name = "/".join(parts[4:])
        if name not in repository:
            return self._error(404, "EntryNotFound", {"X-Repo-Commit": commit})
        data = repository[name]
        large = not name.endswith((".json", ".md"))
        digest = (hashlib.sha256 if large else hashlib.sha1)(data).hexdigest()
        self._send(data, body, {"ETag": f'"{digest}"', "X-Repo-Commit": commit})

    def _send(self, data: bytes, body: bool, headers: dict[str, str]) -> None:
        hub = self.state
        start = 0
        if body and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(data) - start), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        if hub.before is not None:
            hub.before()
        if hub.cut is not None and len(data) - start > hub.cut:
            self.wfile.write(data[start : start + hub.cut])
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def _error(self, status: int, code: str | None, headers: dict[str, str] | None = None) -> None:
        data = json.dumps({"error": code or str(status)}).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

"""The parts of the Hugging Face hub's API that downloads and uploads use, served on 127.0.0.1."""

import base64
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
        tokens: names of the users by their tokens; uploads need one of the repository's owner.
        private: repositories that were made private.
        commits: (repository, message) of all uploads.
        large: large files by their digests, before they are committed.
        refuse_files: if not None, what large files are answered with.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    status: int | None = None
    cut: int | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[], None] | None = None
    tokens: dict[str, str] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    commits: list[tuple[str, str]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    refuse_files: int | None = None
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
        self.tokens, self.private, self.large, self.refuse_files = {}, set(), {}, None
        self.requests.clear()
        self.commits.clear()

    def add(self, repository: str, folder: Path, *names: str) -> None:
        """Put the files of a folder into a repository."""
        kept = {file.name: file.read_bytes() for file in folder.iterdir() if not names or file.name in names}
        self.files.setdefault(repository, {}).update(kept)

    def downloads(self) -> list[str]:
        """The files that were sent, or begun to be."""
        return [path for method, path in self.requests if method == "GET" and "/api/" not in path]


def _mode(name: str) -> str:
    """How a file is uploaded: what the hub's .gitattributes say."""
    return "lfs" if name.endswith((".safetensors", ".bin")) else "regular"


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_PUT(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append((self.command, path))
        data, digest = self._body(), path.rsplit("/", 1)[1]
        if self.state.refuse_files is not None:
            return self._error(self.state.refuse_files, None)
        assert hashlib.sha256(data).hexdigest() == digest
        self.state.large[digest] = data
        self._json({})

    def do_POST(self) -> None:
        hub, path = self.state, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path))
        body = self._body()
        if hub.status is not None:
            return self._error(hub.status, None)
        user = self._user()
        if user is None:
            return self._error(401, None)
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repository = f"{wanted.get('organization') or user}/{wanted['name']}"
            if repository.split("/")[0] != user:
                return self._error(403, None)
            answer = {"url": f"{hub.url}/{repository}", "name": repository}
            if repository in hub.files:
                return self._json(answer, 409)
            hub.files[repository] = {}
            if wanted.get("private") or wanted.get("visibility") == "private":
                hub.private.add(repository)
            return self._json(answer)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        repository = "/".join(parts[2:4] if parts[0] == "api" else parts[:2]).removesuffix(".git")
        if repository not in hub.files or repository.split("/")[0] != user:
            return self._error(404, "RepoNotFound")
        if parts[4:5] == ["preupload"]:
            modes = [
                {"path": file["path"], "uploadMode": _mode(file["path"]), "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": modes})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{hub.url}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self._json({"objects": objects, "transfer": "basic"})
        assert parts[4:] == ["commit", "main"], path
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                hub.commits.append((repository, value["summary"]))
            elif line["key"] == "file":
                hub.files[repository][value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile"
                hub.files[repository][value["path"]] = hub.large[value["oid"]]
        commit = commit_of(repository)
        return self._json(
            {"commitUrl": f"{hub.url}/{repository}/commit/{commit}", "commitOid": commit, "success": True}
        )

    def _user(self) -> str | None:
        return self.state.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _json(self, answer: dict[str, object], status: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, body: bool) -> None:
        hub, path = self.state, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path))
        if hub.status is not None:
            return self._error(hub.status, None)
        if path == "/api/whoami-v2":
            user = self._user()
            return self._error(401, None) if user is None else self._json({"name": user, "type": "user"})
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

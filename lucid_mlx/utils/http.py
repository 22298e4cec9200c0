"""Download from the web, within limits that a slow or hostile server cannot stretch."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from tqdm.auto import tqdm

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import hide_bar, printable, shown

MAX_ADDRESS = 8000  # characters, which is what servers take
SILENCE = 20  # seconds without a byte after which a connection counts as broken
SLOW_SECONDS, SLOW_BYTES = 60, 60 << 10  # a server that sends fewer bytes in so many seconds is given up
_POLL = 0.1  # seconds between two looks at the clock
_CHUNK = 1 << 13
_ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate")  # others, and several at once, can unpack to any size
_REASONS = {401: "it asks for a login", 403: "access is denied", 404: "there is no such file", 429: "too many requests"}


def download(
    url: str, file: BinaryIO, *, max_bytes: int, max_seconds: float | None = None, progress: bool = False
) -> None:
    """Download to an open file.

    A thread waits for the server, so that the time is kept whatever the server does.

    Args:
        url: an http(s) address.
        file: where to write; after an error it may have a part of the contents.
        max_bytes: most bytes, after decompression.
        max_seconds: most seconds for everything; None for any time, if the server is not slower than `SLOW_BYTES` in
            `SLOW_SECONDS`.
        progress: show a progress bar, if standard error is a terminal.

    Raises:
        InputError: if the address cannot be reached or is refused, or a limit is exceeded.
        OSError: if the file cannot be written.
    """
    import requests
    from urllib3.exceptions import HTTPError

    if len(url) > MAX_ADDRESS:
        raise InputError(f"{shown(url, 80)} has {len(url)} characters; an address has at most {MAX_ADDRESS}")
    transfer = _Transfer(url, file, max_bytes)
    thread = threading.Thread(target=transfer.run, name="lucid-mlx-download", daemon=True)
    thread.start()
    start = window = time.monotonic()
    before = 0
    try:
        with tqdm(unit="B", unit_scale=True, disable=hide_bar(progress)) as bar:
            while thread.is_alive():
                thread.join(_POLL)
                bar.total = transfer.total
                bar.update(transfer.received - bar.n)
                now = time.monotonic()
                if max_seconds is not None and now - start > max_seconds:
                    raise InputError(f"{url} took more than {max_seconds:g} s; download it first")
                if now - window > SLOW_SECONDS:
                    if transfer.received - before < SLOW_BYTES:
                        slow = f"less than {SLOW_BYTES >> 10} KB in {SLOW_SECONDS:g} s"
                        raise InputError(f"the server of {url} is too slow: {slow}; try again later")
                    window, before = now, transfer.received
    finally:
        transfer.given_up = True
    try:
        if transfer.error is not None:
            raise transfer.error
    except requests.HTTPError as error:
        raise InputError(http_message(url, error.response.status_code)) from None
    except (requests.RequestException, HTTPError, UnicodeError) as error:  # not all of urllib3's are requests' own
        reason = network_reason(error)
        raise InputError(f"{url} cannot be reached, or the download was interrupted: {reason}") from None


def network_reason(error: BaseException) -> str:
    """Return why a server cannot be reached, without what libraries wrap around it.

    Args:
        error: of requests, httpx or the like.

    Returns:
        Such as "Connection refused"; it names the variable of a proxy if there is one.
    """
    reason, inner = printable(str(error))[:300] or type(error).__name__, _inner(error)
    for _ in range(20):  # causes of causes
        if inner is None:
            break
        if isinstance(inner, OSError) and isinstance(inner.strerror, str):
            reason = printable(inner.strerror)[:300]
        inner = _inner(inner)
    proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
    return f"{reason}; the way there is the proxy of {' and '.join(proxies)}" if proxies else reason


def _inner(error: BaseException) -> BaseException | None:
    """Return the error that an error wraps."""
    wrapped = (*error.args, getattr(error, "reason", None))  # as requests and urllib3 do
    return next((x for x in wrapped if isinstance(x, BaseException)), error.__cause__ or error.__context__)


def http_message(name: str, status: int, reasons: Mapping[int, str] = {}) -> str:
    """Return a sentence for an answer that is an error.

    Args:
        name: what was to be downloaded.
        status: of the answer.
        reasons: what some statuses mean on this server.

    Returns:
        The sentence.
    """
    other = "the server has a problem; try again later" if status >= 500 else "it was refused"
    reason = {**_REASONS, **reasons}.get(status, other)
    return f"{name} cannot be downloaded (HTTP {status}): {reason}"


@dataclass
class _Transfer:
    url: str
    file: BinaryIO
    max_bytes: int
    received: int = 0
    total: int | None = None
    error: Exception | None = None
    given_up: bool = False

    def run(self) -> None:
        try:
            self._receive()
        except Exception as error:  # raised again by the thread that waits
            self.error = error

    def _receive(self) -> None:
        import requests

        # Some servers, such as Wikimedia's, reject clients without a User-Agent.
        headers = {"User-Agent": "lucid-mlx", "Accept-Encoding": "identity"}
        with requests.get(self.url, stream=True, timeout=SILENCE, headers=headers) as response:
            response.raise_for_status()
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            if encoding not in _ENCODINGS:
                raise InputError(f"{self.url} is compressed by {shown(encoding)}, which was not asked for")
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and len(length) < 20 and encoding in ("", "identity"):
                self.total = int(length)
                self._check(self.total)
            for chunk in response.iter_content(_CHUNK):
                if self.given_up:
                    return
                self.file.write(chunk)
                self.received += len(chunk)
                self._check(self.received)

    def _check(self, size: int) -> None:
        if size > self.max_bytes:
            raise InputError(f"{self.url} is larger than {self.max_bytes >> 20} MB; download it first")

"""Downloads from servers that are slow, endless or wrong; every one is a thread on 127.0.0.1."""

import contextlib
import gzip
import io
import socket
import threading
import time
import zlib

import pytest

from lucid_mlx import InputError
from lucid_mlx.preprocessing import addresses, read_image
from lucid_mlx.utils import http

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def serve():
    """Start a server that answers every request by calling a function with the connection; return its address."""
    ended, listeners, threads = threading.Event(), [], []

    def start(answer):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.05)
        listeners.append(listener)

        def loop():
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(5)
                    connection.recv(1 << 16)
                    with contextlib.suppress(OSError):  # the client hung up
                        answer(connection)

        threads.append(threading.Thread(target=loop))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/file"

    def drip(head, byte=b"x"):
        def answer(connection):
            connection.sendall(head)
            while not ended.is_set():
                connection.sendall(byte)
                ended.wait(0.02)

        return start(answer)

    start.drip = drip
    yield start
    ended.set()
    for thread in threads:
        thread.join()
    for listener in listeners:
        listener.close()


def received(url, **limits):
    file = io.BytesIO()
    http.download(url, file, **{"max_bytes": 1 << 20, **limits})
    return file.getvalue()


@pytest.mark.parametrize(
    "head", [OK + b"Content-Length: 100000\r\n\r\n", OK + b"\r\n", OK + b"X-Long: "], ids=["length", "endless", "head"]
)
def test_a_server_that_drips_is_cut_off_at_the_limit(serve, head):
    start = time.monotonic()
    with pytest.raises(InputError, match="took more than 0.3 s"):
        received(serve.drip(head), max_seconds=0.3)
    assert time.monotonic() - start < 10  # the server would drip for ever


def test_a_server_that_is_too_slow_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(http, "SLOW_SECONDS", 0.3)
    with pytest.raises(InputError, match=r"too slow: less than 60 KB in 0.3 s"):
        received(serve.drip(OK + b"Content-Length: 100000\r\n\r\n"))


def test_a_photo_from_a_server_that_drips_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(addresses, "DOWNLOAD_TIMEOUT", 0.3)
    with pytest.raises(InputError, match="took more than 0.3 s"):
        read_image(serve.drip(OK + b"Content-Length: 100000\r\n\r\n"))


def test_more_bytes_than_allowed_are_refused_when_announced_and_when_not(serve):
    for head in (OK + b"Content-Length: 9999999\r\n\r\n", OK + b"\r\n"):
        url = serve(lambda connection, head=head: connection.sendall(head + bytes(1 << 21)))
        with pytest.raises(InputError, match="is larger than 1 MB"):
            received(url)


def test_a_compressed_answer_is_unpacked_within_the_limit(serve):
    def answer(data, encoding):
        return lambda connection: connection.sendall(OK + b"Content-Encoding: " + encoding + b"\r\n\r\n" + data)

    assert received(serve(answer(gzip.compress(b"hello"), b"gzip"))) == b"hello"
    assert received(serve(answer(zlib.compress(b"hello"), b"deflate"))) == b"hello"
    with pytest.raises(InputError, match="is larger than 1 MB"):
        received(serve(answer(gzip.compress(bytes(9 << 20)), b"gzip")))
    twice = gzip.compress(gzip.compress(bytes(9 << 20)))
    with pytest.raises(InputError, match="is compressed by 'gzip, gzip', which was not asked for"):
        received(serve(answer(twice, b"gzip, gzip")))


def test_an_answer_that_is_cut_or_no_http_is_told_in_one_line(serve):
    for data in (OK + b"Content-Length: 100\r\n\r\nabc", b"SSH-2.0-OpenSSH\x1b[31m\r\n", b""):
        with pytest.raises(InputError, match="cannot be reached, or the download was interrupted") as error:
            received(serve(lambda connection, data=data: connection.sendall(data)))
        assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "no such file"), (403, "denied"), (500, "problem"), (418, "refused")]
)
def test_a_refusal_is_told_with_its_reason(serve, status, reason):
    url = serve(lambda connection: connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status))
    with pytest.raises(InputError, match=rf"HTTP {status}\): .*{reason}"):
        received(url)

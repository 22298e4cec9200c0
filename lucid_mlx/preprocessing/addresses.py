"""Images by address: on the web, in a `data:` address, or a file."""

import base64
import binascii
import io
import re
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, unquote_to_bytes

from lucid_mlx.errors import InputError
from lucid_mlx.utils.http import download
from lucid_mlx.utils.text import shown

ADDRESS = re.compile(r"(https?://|data:[^/,;]*[/,;]|file://)", re.IGNORECASE)  # how one begins
MAX_DOWNLOAD_BYTES = 100 << 20
DOWNLOAD_TIMEOUT = 120  # seconds for the whole file


def file_path(address: str) -> Path | None:
    """Return the path of a `file:` address; None for other addresses.

    Args:
        address: what `ADDRESS` matches.

    Returns:
        The path; nothing need be there.

    Raises:
        InputError: if the address names another machine.
    """
    if not address.lower().startswith("file:"):
        return None
    rest = address[len("file://") :]
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost"):
        raise InputError(f"{shown(address, 200)} is on another machine; expected file:///path/of/an/image")
    return Path(unquote(slash + path, errors="surrogateescape"))


def open_address(address: str) -> tuple[str, BinaryIO]:
    """Open what an address on the web, or a `data:` address, stands for.

    Args:
        address: what `ADDRESS` matches, other than a `file:` address.

    Returns:
        A name for messages, and the contents.

    Raises:
        InputError: if it cannot be downloaded, or is damaged.
    """
    if address[:5].lower() == "data:":
        return "the data: address", io.BytesIO(_data(address))
    contents = io.BytesIO()
    download(address, contents, max_bytes=MAX_DOWNLOAD_BYTES, max_seconds=DOWNLOAD_TIMEOUT)
    contents.seek(0)
    return address, contents


def _data(address: str) -> bytes:
    """Return the contents of a `data:` address (RFC 2397)."""
    head, comma, body = address.partition(",")
    if not comma:
        raise InputError(f"{shown(address)} has no comma, after which the contents of a data: address begin")
    contents = unquote_to_bytes(body)
    if not head.lower().rstrip().endswith(";base64"):
        return contents
    packed = b"".join(contents.translate(bytes.maketrans(b"-_", b"+/")).split()).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error as error:
        raise InputError(f"{shown(address)} is no valid base64: {error}") from None

"""Read files of settings, which may be missing, too large, nested too deeply, or no files at all."""

import json
import re
import stat
from pathlib import Path
from typing import Any

from lucid_mlx.errors import InputError

MAX_CONFIG_BYTES = 16 << 20  # of a file of settings, or of an index
_HALF_CHARACTER = re.compile(r"\\u[dD][89abAB]")


def check_file(path: Path, expected: str) -> None:
    """Check that a path can be read as a file: a pipe would wait for ever, and a device has no end.

    Args:
        path: the file.
        expected: what it should be, such as "an image file".

    Raises:
        InputError: if it does not exist, or is not a regular file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected {expected}") from None
    except (OSError, ValueError) as error:  # such as a name that is too long, or holds a zero byte
        raise InputError(f"{str(path)!r:.200} cannot be read: {error}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; expected {expected}")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a pipe or a device, not a file; expected {expected}")


def read_text(path: Path, expected: str, max_bytes: int | None = MAX_CONFIG_BYTES) -> str:
    """Read a text file.

    Args:
        path: the file.
        expected: what it should be, such as "a TOML file".
        max_bytes: most bytes that it may have; None for any number.

    Returns:
        The text.

    Raises:
        InputError: if it is not a regular file, is larger, is not UTF-8, or cannot be read.
    """
    check_file(path, expected)
    if max_bytes is not None and (size := path.stat().st_size) > max_bytes:
        raise InputError(f"{path} has {size} bytes; expected {expected}, of at most {max_bytes}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8; expected {expected}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def read_json(path: Path, expected: str = "a JSON object", max_bytes: int | None = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Read a JSON object from a file.

    Args:
        path: the file.
        expected: what it should be, such as "COCO annotations".
        max_bytes: most bytes that it may have; None for any number.

    Returns:
        The object.

    Raises:
        InputError: if it cannot be read, is not JSON, nests too deeply, or holds something else than an object.
    """
    text = read_text(path, expected, max_bytes)
    try:
        value = json.loads(text)
        if _HALF_CHARACTER.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except UnicodeEncodeError:
        raise InputError(f"{path} is not valid JSON: it holds half a character (a lone surrogate)") from None
    except RecursionError:
        raise InputError(f"{path} nests too deeply; expected {expected}") from None
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{path} cannot be read as JSON: {str(error).partition(';')[0]}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold {expected}, found a {type(value).__name__}")
    return value

"""Read files that may be missing, too large, nested too deeply or no files at all; write them whole or not at all."""

import codecs
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

PREFIX = ".lucid-mlx-unfinished-"  # of a hidden folder beside what is written
MAX_CONFIG_BYTES = 16 << 20  # of a file of settings, or of an index
_HALF_CHARACTER = re.compile(r"\\u[dD][89abAB]")


def local_path(path: str | PathLike[str], name: str = "path") -> Path:
    """Return a path with "~" expanded.

    Args:
        path: what a user gave as a path.
        name: of the argument, for the message.

    Returns:
        The path; nothing need be there.

    Raises:
        InputError: if it is of another type, or no file can have that name.
    """
    try:
        found = Path(path).expanduser()
        name_bytes = os.fsencode(found)
        valid = b"\0" not in name_bytes and len(name_bytes) < 4096 and max(map(len, name_bytes.split(b"/"))) < 256
    except (TypeError, ValueError, RuntimeError):  # such as half a character, or the home of an unknown user
        valid = False
    if not valid:
        raise InputError(f"{name} must be the path of a file or folder, got {shown(path, 200)}")
    return found


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for a name that no disk takes, for which `Path.is_file` raises."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


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
        raise InputError(f"{shown(str(path), 200)} cannot be read: {_reason(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; expected {expected}")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a pipe or a device, not a file; expected {expected}")


def read_text(path: Path, expected: str, max_bytes: int | None = MAX_CONFIG_BYTES) -> str:
    """Read a text file, in UTF-8 or as Windows' "Unicode" (UTF-16), with or without a byte order mark.

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
        with path.open("rb") as file:
            is_utf_16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return path.read_text(encoding="utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeError:
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
    value = _parsed(path, expected, max_bytes)
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold {expected}, found a {type(value).__name__}")
    return value


def read_json_list(path: Path, expected: str, max_bytes: int | None = MAX_CONFIG_BYTES) -> list[Any]:
    """Read a JSON list from a file.

    Args:
        path: the file.
        expected: what it should be, such as "a list of results".
        max_bytes: most bytes that it may have; None for any number.

    Returns:
        The list.

    Raises:
        InputError: if it cannot be read, is not JSON, nests too deeply, or holds something else than a list.
    """
    value = _parsed(path, expected, max_bytes)
    if not isinstance(value, list):
        raise InputError(f"{path} must hold {expected}, found a {type(value).__name__}")
    return value


def _parsed(path: Path, expected: str, max_bytes: int | None) -> Any:
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
    return value


def check_writable(path: Path) -> None:
    """Check that a file can be written to a path: only a regular file is ever replaced.

    Args:
        path: where to write; a symbolic link stands for the file that it names.

    Raises:
        InputError: if a folder, a device, a pipe or a socket is there, or its folder does not exist.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise InputError(f"the folder {path.parent} does not exist; create it first") from None
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(str(path), 200)} cannot be written: {_reason(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder; expected the name of a file to write")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a device, a pipe or a socket; expected the name of a file to write")


def check_not_input(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Check that nothing that is read would be overwritten, whatever the two are called.

    Args:
        outputs: files to write.
        inputs: files to read; those that do not exist do not matter.

    Raises:
        InputError: if an output and an input are the same file, by its path or through a link.
    """
    written = {identity: path for path in outputs if (identity := _identity(path)) is not None}
    if not written:
        return
    for path in inputs:
        identity = _identity(path)
        if identity is not None and (output := written.get(identity)) is not None:
            same = "" if path == output else f", which is {path}"
            raise InputError(f"{output} is also an input{same}, and would be overwritten; write to another place")


def _reason(error: Exception) -> str:
    """Return what went wrong, without the path, which may be very long."""
    return (error.strerror if isinstance(error, OSError) else None) or shown(str(error), 200)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what two names of the same file have in common; None if there is no such file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def check_output_files(files: Sequence[Path], inputs: Iterable[Path], force: bool) -> None:
    """Refuse files that cannot be written, or are read, before any work is done.

    Args:
        files: to write.
        inputs: what is read; it is never overwritten.
        force: whether other files may be overwritten.

    Raises:
        InputError: if a file cannot be written, is an input, or exists and may not be overwritten.
    """
    for path in files:
        check_writable(path)
    check_not_input(files, inputs)
    for path in files:
        if path.exists() and not force:
            raise InputError(f"{path} exists already; choose another name or pass --force")


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for the time of a block, and remove those that killed processes left in the same place.

    Args:
        parent: where to make it.

    Yields:
        The folder, which this process has locked.

    Raises:
        OSError: if it cannot be made.
    """
    _remove_leftovers(parent.resolve())
    folder, lock = _make_locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another process took it for a leftover before it was locked
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # some network disks have no locks, and then nothing is taken for a leftover
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


@lru_cache(256)  # once in a run: a folder may hold very many files
def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its owner lives
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file through a temporary one, which replaces it when the block ends without an error.

    Args:
        path: the file; its folder must exist. A symbolic link stays, and the file that it names is written.

    Yields:
        The path of the temporary file, which has the same name in a folder of its own on the same disk.

    Raises:
        InputError: if the file cannot be written; an earlier version of it is then unchanged.
    """
    check_writable(path)
    try:
        target = path.resolve()
        with temporary_folder(target.parent) as folder:
            temporary = folder / path.name
            yield temporary
            temporary.replace(target)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def write_file(path: Path, data: bytes) -> Path:
    """Write bytes to a file, completely or not at all.

    Args:
        path: the file; an existing one is replaced.
        data: its contents.

    Returns:
        The path.

    Raises:
        InputError: if the file cannot be written; an earlier version of it is then unchanged.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return path


def image_format(path: Path) -> str:
    """Return Pillow's name of the image format that belongs to a file's suffix, such as "PNG".

    Args:
        path: the file; it need not exist.

    Returns:
        The name.

    Raises:
        InputError: if Pillow cannot write a format with that suffix.
    """
    name = Image.registered_extensions().get(path.suffix.lower())
    if name is None or name not in Image.SAVE:
        raise InputError(f"{path} does not name an image format; expected a suffix like .png or .jpg")
    return name


def write_image(path: Path, image: Image.Image) -> Path:
    """Write an image in the format that belongs to the file's suffix, completely or not at all.

    Args:
        path: the file; an existing one is replaced.
        image: what to write.

    Returns:
        The path.

    Raises:
        InputError: if the format cannot hold the image, or the file cannot be written; an earlier version of it is
            then unchanged.
    """
    return write_file(path, encode_image(image, image_format(path)))


def encode_image(image: Image.Image, format: str) -> bytes:
    """Encode an image.

    Args:
        image: what to encode.
        format: Pillow's name of the format, such as "PNG".

    Returns:
        The contents of an image file.

    Raises:
        InputError: if the format cannot hold the image.
    """
    buffer = BytesIO()
    # About the size of the default, and four times as fast.
    options = {"compress_level": 1, "compress_type": zlib.Z_RLE} if format == "PNG" else {}
    try:
        image.save(buffer, format, **options)
    except Exception as error:  # Pillow's encoders raise nearly everything, such as for an image that is too large
        raise InputError(f"an image of {image.width}x{image.height} cannot be saved as {format}: {error}") from error
    return buffer.getvalue()

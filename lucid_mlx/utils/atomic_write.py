"""Files that are complete or not there."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lucid_mlx.errors import InputError


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a place beside a file to write to; what is there in the end replaces the file, if all went well.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: the folder {path.parent} does not exist; create it first")
    try:
        with tempfile.TemporaryDirectory(prefix=".lucid-mlx-", dir=path.parent) as folder:
            place = Path(folder) / path.name
            yield place
            place.replace(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def write_file(path: Path, data: bytes) -> Path:
    """Write a file beside its place and move it there when it is complete.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    with draft(path) as place:
        place.write_bytes(data)
    return path

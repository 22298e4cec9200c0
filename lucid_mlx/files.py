"""Files that are complete or not there."""

import tempfile
from pathlib import Path

from lucid_mlx.errors import InputError


def write_file(path: Path, data: bytes) -> Path:
    """Write a file beside its place and move it there when it is complete.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: the folder {path.parent} does not exist; create it first")
    try:
        with tempfile.TemporaryDirectory(prefix=".lucid-mlx-", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            draft.write_bytes(data)
            draft.replace(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    return path

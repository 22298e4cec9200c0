"""A hidden folder beside what is written, which the next run removes if its own was killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

PREFIX = ".lucid-mlx-unfinished-"


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

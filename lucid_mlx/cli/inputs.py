"""Which pictures a command line means."""

import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lucid_mlx.errors import InputError

STANDARD_INPUT = "-"


def find_photos(given: Sequence[str]) -> list[str]:
    """Return the pictures that are meant, in order: folders and patterns are opened up.

    A file or an address that is given by name is taken as it is; reading it tells what is wrong with it.

    Raises:
        InputError: for a folder or a pattern without pictures.
    """
    photos: list[str] = []
    for name in given:
        path = Path(name).expanduser()
        if name == STANDARD_INPUT or name.startswith(("http://", "https://")):
            photos.append(name)
        elif path.is_dir():
            found = sorted(str(file) for file in path.iterdir() if _is_picture(file))
            if not found:
                raise InputError(f"the folder {name} holds no pictures")
            photos += found
        elif not path.exists() and glob.has_magic(name):
            root = Path(path.anchor)
            matched = sorted(str(file) for file in root.glob(str(path.relative_to(root))))
            if not matched:
                raise InputError(f"no file matches {name}")
            photos += matched
        else:
            photos.append(str(path))
    return photos


def contents(photo: str) -> str | bytes:
    """Return what `read_image` reads: the name itself, or what standard input has."""
    return sys.stdin.buffer.read() if photo == STANDARD_INPUT else photo


def _is_picture(path: Path) -> bool:
    kind = Image.registered_extensions().get(path.suffix.lower())
    return path.is_file() and not path.name.startswith(".") and kind in Image.OPEN

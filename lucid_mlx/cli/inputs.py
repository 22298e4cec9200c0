"""Which pictures a command line means."""

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from lucid_mlx.convert.source import SUFFIXES
from lucid_mlx.data import Dataset
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path
from lucid_mlx.weights.checkpoint import CONFIG_FILE, PREPROCESSOR_FILE, WEIGHT_FILES

STANDARD_INPUT = "-"


def find_photos(given: Sequence[str]) -> list[str]:
    """Return the pictures that are meant, in order: folders and patterns are opened up.

    A file or an address that is given by name is taken as it is; reading it tells what is wrong with it.

    Raises:
        InputError: for a folder or a pattern without pictures.
    """
    photos: list[str] = []
    for name in given:
        path = local_path(name)
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


def contents(photo: str) -> str | BinaryIO:
    """Return what `read_image` reads: the name itself, or standard input."""
    return sys.stdin.buffer if photo == STANDARD_INPUT else photo


def weights_files(weights: str | None) -> list[Path]:
    """Return the files on disk that are read for `--weights`; none for a name or an address."""
    path = local_path(weights or "")
    if not path.is_dir():
        return [path]
    names = (CONFIG_FILE, PREPROCESSOR_FILE, *WEIGHT_FILES)
    return [file for file in path.iterdir() if file.name in names or file.suffix in SUFFIXES]


def dataset_files(dataset: Dataset) -> Iterator[Path]:
    """Yield the images and the label images of a dataset."""
    for record in dataset.records:
        yield from (value for value in vars(record).values() if isinstance(value, Path))


def _is_picture(path: Path) -> bool:
    kind = Image.registered_extensions().get(path.suffix.lower())
    return path.is_file() and not path.name.startswith(".") and kind in Image.OPEN

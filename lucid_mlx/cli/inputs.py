"""What a command line means: its pictures, its weights, and options that change nothing."""

import glob
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import click

from lucid_mlx.convert.weights_file import SUFFIXES
from lucid_mlx.data import Dataset
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing.addresses import ADDRESS, file_path
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.iso_media import without_heif
from lucid_mlx.utils.open_image import is_picture
from lucid_mlx.utils.text import echo, examples
from lucid_mlx.weights.checkpoint import CONFIG_FILE, PREPROCESSOR_FILE, WEIGHT_FILES

STANDARD_INPUT = "-"
_NOT_COUNTED = {"thumbs.db", "desktop.ini"}  # as hidden files, which systems put into folders


def find_photos(given: Sequence[str], recursive: bool = False, output: str | None = None) -> list[str]:
    """Return the pictures that are meant, in order, each once: folders and patterns are opened up.

    A file or an address that is given by name is taken as it is; reading it tells what is wrong with it. What folders
    and patterns hold beside pictures is told in one line, and so are HEIC photos for which the library is missing.

    Args:
        given: what the command line says.
        recursive: search the folders in folders too, but for hidden ones.
        output: the folder for results, which is then left out.

    Returns:
        The names of the pictures.

    Raises:
        InputError: for a folder or a pattern without pictures, or if there are only HEIC photos, without the library.
    """
    photos: list[str] = []
    others: list[Path] = []
    folders: list[Path] = []
    for name in given:
        path = file_path(name) if ADDRESS.match(name) else local_path(name)
        if name == STANDARD_INPUT or path is None:
            photos.append(name)
        elif path.is_dir():
            found = _pictures(_files_within(path, output) if recursive else path.iterdir(), others)
            inner = [] if recursive else _visible_folders(path.iterdir())
            if not found:
                hint = "; its folders are not searched, but --recursive does that" if inner else ""
                raise InputError(f"the folder {name} holds no pictures{hint}")
            photos, folders = photos + found, folders + inner
        elif not path.exists() and glob.has_magic(str(path)):
            root = Path(path.anchor)
            matched = sorted(root.glob(str(path.relative_to(root))))
            if not matched:
                raise InputError(f"no file matches {name}")
            photos += _pictures(matched, others) or map(str, matched)
            folders += [] if "**" in name else _visible_folders(matched)
        else:
            photos.append(str(path))
    if others:
        names = examples([path.name for path in others])
        warnings.warn(f"{len(others)} skipped, by their names no pictures: {names}", stacklevel=2)
    if folders:
        names = examples([str(path) for path in folders])
        count = f"{len(folders)} folder{'s' if len(folders) > 1 else ''}"
        warnings.warn(
            f"{count} in a folder skipped: {names}; a pattern takes all: '{folders[0].parent}/**/*'", stacklevel=2
        )
    photos = list(dict.fromkeys(photos))
    return without_heif(photos) if len(photos) > 1 else photos


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


def tell_unused(task: str | None, others: Mapping[str, str] | None = None) -> None:
    """Say which of the options that were given change nothing.

    Args:
        task: what is looked for; None if the verb has no task.
        others: options of the verb that change nothing, by name, each with the reason.
    """
    reasons = dict(others or {})
    if task in ("semantic", "instance"):
        reasons["mask_threshold"] = f"in {task} segmentation: it is for panoptic segments"
    if task == "semantic":
        reasons["threshold"] = "in semantic segmentation, in which every pixel has a class"
    context = click.get_current_context()
    for name, reason in reasons.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            echo(f"warning: --{name.replace('_', '-')} changes nothing {reason}", fg="yellow", err=True)


def required_weights(weights: str | None) -> str:
    """Return `--weights`.

    Args:
        weights: the option.

    Returns:
        The weights.

    Raises:
        InputError: if they are missing; it says what to pass.
    """
    if weights is None:
        raise InputError(
            "--weights is missing; pass a checkpoint, such as facebook/mask2former-swin-tiny-coco-panoptic, which is "
            "downloaded once (190 MB), or demo, which comes with the package and knows people and garments alone"
        )
    return weights


def _pictures(files: Iterable[Path], others: list[Path]) -> list[str]:
    """Return the names of the pictures among files, in order; what is no picture is added to the others."""
    pictures: list[str] = []
    for file in sorted(files):
        if is_picture(file):
            pictures.append(str(file))
        elif not file.name.startswith(".") and file.name.lower() not in _NOT_COUNTED and not file.is_dir():
            others.append(file)
    return pictures


def _files_within(folder: Path, output: str | None) -> Iterator[Path]:
    """Yield the files in a folder, and in folders within it that are neither hidden nor hold the results."""
    results = local_path(output or "segmented").resolve()
    for root, folders, files in os.walk(folder):
        inner = [Path(root, name) for name in folders if not name.startswith(".")]
        if skipped := [path for path in inner if path.resolve() == results]:
            warnings.warn(f"the folder {skipped[0]} skipped, which is for the results", stacklevel=3)
        folders[:] = sorted(path.name for path in inner if path not in skipped)
        yield from (Path(root, name) for name in files)


def _visible_folders(files: Iterable[Path]) -> list[Path]:
    return sorted(file for file in files if not file.name.startswith(".") and file.is_dir())

"""Split lists: a text file that names the images of a part of a dataset, such as VOC's `ImageSets/.../train.txt`."""

import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath

from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path, read_text
from lucid_mlx.utils.open_image import picture_endings
from lucid_mlx.utils.text import examples

MAX_BYTES = 256 << 20

Parts = tuple[str, ...]  # of a path, the last one without the ending


def read_split(path: str | PathLike[str]) -> frozenset[str]:
    """Read a split list: in each line the name of an image, with or without its folder and its ending.

    Args:
        path: the file. Blank lines and lines that start with "#" do not count.

    Returns:
        The lines.

    Raises:
        InputError: if it cannot be read, or names nothing.
    """
    file = local_path(path, "split")
    text = read_text(file, "a text file with the name of an image in each line", MAX_BYTES)
    names = frozenset(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    if not names:
        raise InputError(f"the split list {file} is empty; expected the name of an image in each line")
    return names


def select(paths: Sequence[str], split: Collection[str], ending: str = "") -> list[bool]:
    """Find the images that a split list names; names in the list that no image has are told in a warning.

    Args:
        paths: the paths of the images within their folder.
        split: the names, as `read_split` returns them.
        ending: how the names of the images end; the list may have them without it. "" for no ending but the format's.

    Returns:
        For each image whether the list names it.

    Raises:
        InputError: if it names none of the images.
    """
    whole: defaultdict[str, list[tuple[Parts, str]]] = defaultdict(list)
    for line in split:
        # Some lists have the label map, or a number, in a second column.
        for name in dict.fromkeys([line, line.split()[0]]) if line.strip() else ():
            parts = _parts(name, ending)
            whole[parts[-1]].append((parts, line))
    found: set[str] = set()
    chosen = []
    for path in paths:
        parts = _parts(path, ending)
        lines = [line for listed, line in whole[parts[-1]] if _is_same(parts, listed)] if parts[-1] in whole else []
        found.update(lines)
        chosen.append(bool(lines))
    if missing := sorted(set(split) - found):
        if not any(chosen):
            raise InputError(
                f"the split list names none of the {len(paths)} images, such as {paths[0] if paths else 'none'}; it "
                f"has {examples(missing)}"
            )
        warnings.warn(
            f"{len(missing)} of the {len(split)} names of the split list have no image: {examples(missing)}",
            stacklevel=3,
        )
    return chosen


def name_key(name: str) -> str:
    """Return a name as it is compared: accents have several encodings, which macOS and Linux choose differently."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _parts(name: str, ending: str) -> Parts:
    path = PurePosixPath(name_key(name).strip("\"'").replace("\\", "/"))
    last = path.name
    if ending and last.casefold().endswith(ending.casefold()):
        last = last[: -len(ending)]
    elif Path(last).suffix.lower() in picture_endings():
        last = Path(last).stem
        without_format = Path(ending).stem if Path(ending).suffix else ""
        last = last.removesuffix(without_format) or last
    return (*(part for part in path.parts[:-1] if part not in ("/", ".")), last)


def _is_same(one: Parts, other: Parts) -> bool:
    """Return whether two paths are the same but for folders before them."""
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]

"""The images of a COCO file: their files, found where they are, and their sizes."""

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from lucid_mlx.data.coco_values import Id, identifier, whole
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.orientation import PhotoHeader, Size, label_turns, read_header
from lucid_mlx.data.split import select
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import is_file
from lucid_mlx.utils.iso_media import without_heif
from lucid_mlx.utils.open_image import picture_endings
from lucid_mlx.utils.text import examples, shown
from lucid_mlx.utils.validation import check_image_size

MAX_NAME_LENGTH = 1000
MAX_FILES = 5_000_000  # of a folder in which files are searched


class CocoImage(NamedTuple):
    """An image of a COCO file.

    Attributes:
        path: its file.
        size: (height, width) of its labels.
        exif: the EXIF orientation that turns its labels upright.
    """

    path: Path
    size: Size
    exif: int = 1


def read_images(
    entries: Sequence[Any],
    folder: Path,
    annotations: Path,
    split: Collection[str] | None,
    orientation: str,
    problems: Problems,
    notices: Notices,
) -> tuple[dict[Id, CocoImage], set[Id]]:
    """Read the list of images, find their files, and read what is missing from their headers.

    Args:
        entries: the list.
        folder: the folder with the images.
        annotations: the file with the list. Pictures beside it are taken for images only if there are no others.
        split: the names of those to use; None for all.
        orientation: "stored", "upright" or "auto", as `coco_dataset` takes it.
        problems: where to add what contradicts itself.
        notices: where to tell what is left out or guessed.

    Returns:
        The images by id, and the ids of those that are left out, as the split does not name them or they have no file.

    Raises:
        InputError: if the folder does not exist, or the split names no image.
    """
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist; expected the images")
    listed = _list(entries, problems, notices)
    if split is not None:
        chosen = select([name for name, _ in listed.values()], split)
        used = {id_: listed[id_] for id_, is_chosen in zip(listed, chosen, strict=True) if is_chosen}
    else:
        used = listed
    search = _Search(folder, annotations.parent)
    paths = _find(search, folder, {id_: name for id_, (name, _) in used.items()}, problems, notices)
    with ThreadPoolExecutor(4) as pool:
        headers = dict(zip(paths, pool.map(read_header, paths.values()), strict=True))
    sizes = {id_: _size(used[id_][1], headers[id_], id_, problems, notices) for id_ in paths}
    known = {id_: header for id_, header in headers.items() if header is not None and sizes[id_] is not None}
    turns = dict(
        zip(
            known,
            label_turns(
                [(paths[id_].name, header, _written(used[id_][1])) for id_, header in known.items()],
                orientation,
                notices,
            ),
            strict=True,
        )
    )
    images = {}
    for id_, size in sizes.items():
        header, exif = headers[id_], turns.get(id_, 1)
        if size is None:
            continue
        if header is not None:
            size = _checked(size, header, exif, id_, problems, notices)
        images[id_] = CocoImage(paths[id_], size, exif)
    return images, set(listed) - set(images)


def _list(entries: Sequence[Any], problems: Problems, notices: Notices) -> dict[Id, tuple[str, Mapping[str, Any]]]:
    """Return the name of the file and the entry of each image."""
    listed: dict[Id, tuple[str, Mapping[str, Any]]] = {}
    for index, entry in enumerate(entries):
        id_ = identifier(entry.get("id")) if isinstance(entry, dict) else None
        name = _name(entry) if isinstance(entry, dict) else None
        if id_ is None or name is None:
            problems.add(f"image {index} of the list has no id or no file_name")
        elif id_ not in listed:
            listed[id_] = (name, entry)
        elif listed[id_][0] == name:
            notices.add("image", "listed twice", name)
        else:
            problems.add(f"image {id_} appears twice, as {shown(listed[id_][0])} and {shown(name)}")
    return listed


def _name(entry: Mapping[str, Any]) -> str | None:
    """Return the name of an image's file; LVIS has only its address."""
    for key in ("file_name", "filename", "coco_url"):
        name = entry.get(key)
        if isinstance(name, str) and name.strip():
            return unquote(urlsplit(name).path).lstrip("/") if name.startswith(("http://", "https://")) else name
    return None


def _find(
    search: "_Search", folder: Path, names: Mapping[Id, str], problems: Problems, notices: Notices
) -> dict[Id, Path]:
    """Return the files of images; those without one are told."""
    paths: dict[Id, Path] = {}
    missing: dict[Id, str] = {}
    for id_, name in names.items():
        path = path_in(folder, name)
        if path is not None and is_file(path):
            paths[id_] = path
        elif path is None and (len(name) > MAX_NAME_LENGTH or ".." in _parts(name)):
            problems.add(
                f"image {id_} has the file_name {shown(name, 200)}; expected a path within the folder {folder}: "
                "give the folder that holds all images"
            )
        else:
            missing[id_] = name
    search.taken.update(paths.values())
    lost: list[str] = []
    for id_, name in missing.items():
        found = search.find(name)
        if found is None:
            lost.append(name)
        else:
            paths[id_] = found
            notices.add("image", "found under another name", f"{name} is {found.relative_to(folder)}")
    for name in lost:
        if len(lost) == len(names):
            absolute = path_in(folder, name) is None
            problems.add(
                f"an image has the file_name {shown(name, 200)}; expected a path within the folder"
                if absolute
                else f"{folder / name} does not exist{search.several(name)}"
            )
        else:
            notices.add("image", f"left out, as not in {folder}", name)
    readable = set(without_heif(list(paths.values())))
    return {id_: paths[id_] for id_ in names if id_ in paths and paths[id_] in readable}


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def path_in(folder: Path, name: str) -> Path | None:
    """Return the path of a file in a folder or its subfolders; None for a name that leads out of it.

    Args:
        folder: the folder.
        name: the path within it, of Windows too.

    Returns:
        The path; nothing need be there.
    """
    parts = _parts(name)
    if not parts or parts[0].startswith("/") or len(name) > MAX_NAME_LENGTH:
        return None
    if ".." in parts:  # as "../photos/a.jpg", which leads back into the folder photos
        path = Path(os.path.normpath(folder.resolve().joinpath(*parts)))
        return path if path.is_relative_to(folder.resolve()) else None
    path = folder / name
    return path if "\\" not in name or is_file(path) else folder.joinpath(*parts)


class _Search:
    """Finds files in a folder by a part of their path, in another case, or with another ending.

    Args:
        folder: the folder.
        unlikely: a folder whose files are taken only if there are no others, as those beside the annotations.

    Attributes:
        taken: files that belong to other images.
    """

    def __init__(self, folder: Path, unlikely: Path):
        self._folder, self._unlikely = folder, unlikely.absolute()
        self.taken: set[Path] = set()
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path | None:
        """Return the file; None if there is none, or several that are not told apart."""
        if len(name) > MAX_NAME_LENGTH:
            return None
        parts = [part for part in _parts(unquote(name)) if part not in ("/", "..")]
        for start in range(len(parts)):
            path = self._folder.joinpath(*parts[start:])
            if is_file(path) and path not in self.taken:
                return self._take(path)
        if not parts or self._folder.resolve() == Path(self._folder.resolve().anchor):
            return None
        for key in (parts[-1], PurePosixPath(parts[-1]).stem):
            candidates = [path for path in self._files().get(key.casefold(), []) if path not in self.taken]
            if len(parts) > 1:
                parent = parts[-2].casefold()
                candidates = [path for path in candidates if path.parent.name.casefold() == parent] or candidates
            if len(candidates) > 1:
                likely = [path for path in candidates if not path.absolute().is_relative_to(self._unlikely)]
                candidates = likely or candidates
            if len(candidates) == 1:
                return self._take(candidates[0])
        return None

    def several(self, name: str) -> str:
        """Return a note on files of that name, of which none can be chosen; nothing if there are none."""
        found = self._files().get(_parts(name)[-1].casefold(), []) if self._by_name is not None else []
        several = examples([str(path) for path in found])
        return f", but {several}: give the folder that the names are relative to as images" if found else ""

    def _take(self, path: Path) -> Path:
        self.taken.add(path)
        return path

    def _files(self) -> dict[str, list[Path]]:
        """Return all pictures by their names, and by their names without the ending, without regard to case."""
        if self._by_name is None:
            found: defaultdict[str, list[Path]] = defaultdict(list)
            count = 0
            for folder, _, names in os.walk(self._folder):
                for name in names:
                    path = PurePosixPath(name)
                    if path.suffix.lower() in picture_endings():
                        for key in (path.name.casefold(), path.stem.casefold()):
                            found[key].append(Path(folder) / name)
                count += len(names)
                if count > MAX_FILES:
                    break
            self._by_name = dict(found)
        return self._by_name


def _written(entry: Mapping[str, Any]) -> Size | None:
    """Return (height, width) as the file has them, None if it lacks one."""
    height, width = whole(entry.get("height")), whole(entry.get("width"))
    return (height, width) if height is not None and width is not None and min(height, width) >= 1 else None


def _size(
    entry: Mapping[str, Any], header: PhotoHeader | None, id_: Id, problems: Problems, notices: Notices
) -> Size | None:
    """Return the size that the file gives to an image, or that of its pixels."""
    size = _written(entry)
    if size is None and header is not None:
        notices.add("image", "without height and width in the file; those of the photo are taken", str(id_))
        return header.size
    if size is None:
        problems.add(f"image {id_} has no height or no width: they must be whole numbers of at least 1")
        return None
    try:
        check_image_size(size[1], size[0], f"image {id_}")
    except InputError as error:
        problems.add(str(error))
        return None
    return size


def _checked(size: Size, header: PhotoHeader, exif: int, id_: Id, problems: Problems, notices: Notices) -> Size:
    """Compare a size with that of the pixels for which the labels are, and return the latter."""
    expected = header.size if exif != 1 else header.upright_size
    if size == expected:
        return size
    if size == expected[::-1]:
        if header.exif == 1:
            notices.add("image", "with height and width exchanged in the file; those of the photo are taken", str(id_))
        return expected
    problems.add(
        f"image {id_} is {expected[1]}x{expected[0]} pixels, the file says {size[1]}x{size[0]}: labels for other "
        "pixels; export them again, or delete height and width from the file to take those of the photo"
    )
    return size

"""What `lucid-mlx segment` writes: files for each photo, and files for all of them together."""

import difflib
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from lucid_mlx.cli.formats import (
    COCO_FORMATS,
    FORMATS,
    LINES,
    OWN_FILES,
    PICTURES,
    SHARED_FILES,
    TEXT_ENDINGS,
    Picture,
    PictureOptions,
    encoded,
    json_line,
    write_large_overlay,
)
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing.addresses import ADDRESS
from lucid_mlx.results.export import coco_categories
from lucid_mlx.results.segmentation import Segmentation
from lucid_mlx.utils.files import check_output_files, image_format, local_path, write_file
from lucid_mlx.utils.text import echo, examples

STANDARD_OUTPUT = "-"
MAX_PIXELS_AT_ONCE = 30_000_000  # of an overlay: drawing takes some 20 bytes for each
MAX_STEM = 220  # bytes of a photo's name that its results have; a disk takes 255


def parse_formats(text: str, known: Collection[str] = FORMATS) -> list[str]:
    """Read a list of formats.

    Args:
        text: their names, with commas between.
        known: the names that there are.

    Returns:
        The names, each once.

    Raises:
        InputError: for an unknown format.
    """
    formats = list(dict.fromkeys(name.strip().lower().replace("_", "-") for name in text.split(",")))
    for name in formats:
        if name not in known:
            near = difflib.get_close_matches(name[:40], known, n=1)
            hint = f"did you mean {near[0]}? Expected" if near else "expected"
            raise InputError(f"there is no format {name!r}; {hint} one or more of {', '.join(known)}")
    return formats


class Writer:
    """Decides where results go, and writes them.

    Args:
        photos: names of the photos.
        formats: of `FORMATS`.
        output: what the user asked for, if anything: a folder, a file, or `STANDARD_OUTPUT`.
        alone: whether one photo was named by itself, and not a folder or a pattern.
        options: how pictures look; they may be set again before the first is written.

    Raises:
        InputError: if the output cannot hold what is asked for.
    """

    def __init__(
        self, photos: Sequence[str], formats: Sequence[str], output: str | None, alone: bool, options: PictureOptions
    ):
        self.formats, self.options = formats, options
        self.to_stdout = output == STANDARD_OUTPUT
        self._numbers = _image_ids(photos)
        self._root = _common_folder(photos)
        self._images: list[dict[str, Any]] = []
        self._annotations: dict[str, list[dict[str, Any]]] = {name: [] for name in COCO_FORMATS}
        self._rows: list[str] = []
        self._folder: Path | None = None
        self._files: dict[str, dict[str, Path]] = {photo: {} for photo in photos}
        self._shared: dict[str, Path] = {}
        if self.to_stdout:
            _check_standard_output(photos, formats)
        else:
            self._place(photos, output, alone)

    def _place(self, photos: Sequence[str], output: str | None, alone: bool) -> None:
        """Decide where each file goes."""
        if output is None and alone:
            self._place_by_name(photos[0], Path(f"{_trimmed(_stem(photos[0]))}-segmented"))
            return
        if output == "":
            raise InputError("--output is empty; name a file or a folder, or leave the option out")
        path = local_path("segmented" if output is None else output, "--output")
        if output is not None and not output.endswith("/") and not path.is_dir():
            if path.suffix and len(photos) == len(self.formats) == 1:
                self._place_in_file(photos[0], path)
                return
            if path.suffix.lower() in (*TEXT_ENDINGS, *Image.registered_extensions()):
                raise InputError(f"{output} looks like one file; several photos or formats need a folder: -o {output}/")
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}; create it first")
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; expected the name of a folder, or of a file with an ending")
        self._folder = path
        self._shared = {name: path / file for name, file in SHARED_FILES.items() if name in self.formats}
        own = [name for name in self.formats if name in OWN_FILES]
        for photo, name in zip(photos, _unique_names(photos, self._root, own), strict=True):
            self._files[photo] = {kind: _in_folder(path, kind, name) for kind in own}

    def _place_by_name(self, photo: str, start: Path) -> None:
        """Put all that a photo gives beside each other, under its name."""
        own = [name for name in self.formats if name in OWN_FILES]
        self._files[photo] = {name: Path(f"{start}{OWN_FILES[name].suffix}") for name in own}
        self._shared = {name: Path(f"{start}-{file}") for name, file in SHARED_FILES.items() if name in self.formats}
        if "panoptic" in self.formats:
            folder = self._shared["panoptic"].with_suffix("")
            self._files[photo]["panoptic"] = folder / f"{_trimmed(_stem(photo))}.png"

    def _place_in_file(self, photo: str, path: Path) -> None:
        """Put what a photo gives in one format into the file that was named."""
        (name,) = self.formats
        picture = path.suffix.lower() in Image.registered_extensions()
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent}; create it first")
        if name == "panoptic":
            png = path if picture else path.with_suffix("") / f"{_trimmed(_stem(photo))}.png"
            self._files[photo], self._shared = {name: png}, {name: path.with_suffix(".json")}
        elif name in SHARED_FILES:
            self._shared = {name: path}
        else:
            self._files[photo] = {name: path}
        format = OWN_FILES.get(name)
        if not isinstance(format, Picture):
            if picture:
                ending = Path(SHARED_FILES.get(name) or f"x{OWN_FILES[name].suffix}").suffix
                raise InputError(f"{path} names a picture, and {name} is text; expected a suffix like {ending}")
        elif picture:
            kind = image_format(path)  # refuses those that Pillow only reads
            if format.kinds is not None and kind not in format.kinds:
                raise InputError(f"{path} would {format.reason} a {name}; expected a suffix like .png")
        elif name != "panoptic":
            raise InputError(
                f"{path} does not name an image format, which {name} needs; expected a suffix like .png, -o {path}/ "
                "for a folder, or another --format, such as json"
            )

    @property
    def paths(self) -> list[Path]:
        """All files that will be written."""
        return [path for own in self._files.values() for path in own.values()] + [*self._shared.values()]

    def is_done(self, photo: str) -> bool:
        """Return whether all files of a photo are there."""
        return all(path.exists() for path in self._files[photo].values())

    def keep(self, photos: Collection[str]) -> None:
        """Forget the files of all other photos; those of these stay where they are."""
        self._files = {photo: self._files[photo] for photo in photos}

    def make_folders(self, force: bool) -> None:
        """Make the folders, and refuse what cannot be written before any work is done.

        Args:
            force: whether files may be overwritten.

        Raises:
            InputError: if a file cannot be written, or is there already and not to be replaced.
        """
        folders = [self._folder] if self._folder else []
        for folder in dict.fromkeys(folders + [path.parent for path in self.paths]):
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise InputError(f"the folder {folder} cannot be made: {error.strerror}") from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise InputError(f"nothing can be written to the folder {folder.absolute()}; choose another with -o")
        check_output_files(self.paths, (), force)

    def write(self, photo: str, result: Segmentation) -> list[Path]:
        """Write the files of one photo; several threads may do so at the same time.

        Args:
            photo: its name.
            result: what was found in it.

        Returns:
            The files.
        """
        for name, path in self._files[photo].items() if not self.to_stdout else ():
            kind = image_format(path) if name in PICTURES else ""
            if name == "overlay" and kind == "PNG" and result.map.size > MAX_PIXELS_AT_ONCE:
                write_large_overlay(path, result, self.options.opacity)
            else:
                write_file(path, encoded(name, result, self.options, kind))
        return list(self._files[photo].values())

    def collect(self, photo: str, result: Segmentation, category_ids: Mapping[int, int] | None) -> None:
        """Take what one photo gives for the files of all together, or print it.

        Args:
            photo: its name.
            result: what was found in it.
            category_ids: the category of each class; None for the class id.
        """
        if self.to_stdout and self.formats[0] in OWN_FILES:
            _print(encoded(self.formats[0], result, self.options, "PNG"))
        number, (height, width) = self._numbers[photo], result.map.shape
        file_name = _relative(photo, self._root)
        self._images.append({"id": number, "file_name": file_name, "width": width, "height": height})
        found = self._annotations
        if "csv" in self.formats:
            self._rows.append(result.to_csv(header=not self._rows))
        if "coco" in self.formats:
            found["coco"] += result.to_coco(number, len(found["coco"]) + 1, category_ids)
        if "coco-results" in self.formats:
            found["coco-results"] += result.to_coco_results(number, category_ids)
        if "panoptic" in self.formats:
            annotation = result.to_panoptic_png(category_ids=category_ids)[1]
            annotation |= {"image_id": number, "file_name": self._files[photo]["panoptic"].name}
            found["panoptic"].append(annotation)

    def close(
        self, labels: Mapping[int, str], thing_ids: Collection[int] | None, category_ids: Mapping[int, int] | None
    ) -> list[Path]:
        """Write what there is one of for all photos.

        Args:
            labels: names of the classes, by class id.
            thing_ids: the classes that have countable objects; None for all.
            category_ids: the category of each class; None for the class id.

        Returns:
            The files.
        """
        for name in [name for name in self.formats if name in SHARED_FILES]:
            if name == "csv":
                data = "".join(self._rows).encode()
            elif name == "coco-results":
                data = json_line(self._annotations[name])
            else:
                categories = coco_categories(labels, thing_ids, category_ids)
                info, annotations = {"description": "found by lucid-mlx"}, self._annotations[name]
                data = json_line(
                    {"info": info, "images": self._images, "categories": categories, "annotations": annotations}
                )
            if self.to_stdout:
                _print(data)
            else:
                write_file(self._shared[name], data)
        return list(self._shared.values())


def _check_standard_output(photos: Sequence[str], formats: Sequence[str]) -> None:
    if len(formats) > 1 or (len(photos) > 1 and formats[0] not in LINES):
        raise InputError(f"standard output takes one format; for several photos one of {', '.join(LINES)}")
    if formats[0] == "panoptic":
        raise InputError("panoptic is a PNG and a JSON file; give a folder: -o found/")


def _in_folder(folder: Path, kind: str, name: str) -> Path:
    """Return the file of a photo in a format, in the folder for all results."""
    return (folder / "panoptic" if kind == "panoptic" else folder) / f"{name}{OWN_FILES[kind].suffix}"


def _unique_names(photos: Sequence[str], root: Path | None, kinds: Sequence[str]) -> list[str]:
    """Return a name for the results of each photo, so that no two have a file in common, on any disk.

    It is the photo's name without its ending; if that is taken, with its ending; then with its folders; then with a
    number. Longer names than the photo's are told.
    """
    names = plain = [_trimmed(_stem(photo)) for photo in photos]
    reserved = [_key(Path(file)) for file in SHARED_FILES.values()]

    def files(name: str) -> list[str]:
        return [_key(_in_folder(Path(), kind, name)) for kind in kinds]

    whole = [_file_name(photo) for photo in photos]
    with_folders = [
        _stem(photo)
        if photo == "-" or ADDRESS.match(photo)
        else "-".join(Path(_relative(photo, root)).with_suffix("").parts)
        for photo in photos
    ]
    for longer in (whole, with_folders):
        counts = Counter(reserved + [file for name in names for file in files(name)])
        names = [
            _trimmed(other) if any(counts[file] > 1 for file in files(name)) else name
            for name, other in zip(names, longer, strict=True)
        ]
    taken, chosen = set(reserved), []
    for name in names:
        numbered, number = name, 1
        while not taken.isdisjoint(files(numbered)):
            number += 1
            numbered = f"{name}-{number}"
        taken.update(files(numbered))
        chosen.append(numbered)
    changed = [
        f"{photo} -> {new}{OWN_FILES[kinds[0]].suffix}"
        for photo, new, old in zip(photos, chosen, plain, strict=True)
        if new != old
    ]
    if changed:
        count = (
            "1 result has a name of its own" if len(changed) == 1 else f"{len(changed)} results have names of their own"
        )
        echo(f"{count}, as others would share one: {examples(changed)}", err=True)
    return chosen


def _key(path: Path) -> str:
    """Return what names have in common that are the same to a disk that ignores case and the form of accents."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _file_name(photo: str) -> str:
    """Return a photo's own name, with its ending; "photo" if it has none."""
    if photo == "-" or photo[:5].lower() == "data:":
        return "photo"
    return PurePath(photo.partition("?")[0].partition("#")[0] if ADDRESS.match(photo) else photo).name or "photo"


def _stem(photo: str) -> str:
    return PurePath(_file_name(photo)).stem


def _trimmed(name: str) -> str:
    """Return a name that leaves room for what formats add to it."""
    data = name.encode("utf-8", "surrogateescape")
    return name if len(data) <= MAX_STEM else data[:MAX_STEM].decode("utf-8", "ignore")


def _common_folder(photos: Sequence[str]) -> Path | None:
    """Return the folder that all photos on disk are in, or in folders of; None if none is on disk."""
    folders = [_absolute(photo).parent for photo in photos if photo != "-" and not ADDRESS.match(photo)]
    return Path(os.path.commonpath(folders)) if folders else None


def _absolute(photo: str) -> Path:
    return Path(os.path.normpath(Path(photo).absolute()))


def _relative(photo: str, root: Path | None) -> str:
    """Return a photo's path from the folder of all; of an address the address."""
    if root is None or photo == "-" or ADDRESS.match(photo):
        return "photo" if photo[:5].lower() == "data:" else photo
    return _absolute(photo).relative_to(root).as_posix()


def _image_ids(photos: Sequence[str]) -> dict[str, int]:
    """Return an id for each photo: the number that is its name, as with COCO's, if all have one; else its place."""
    stems = [_stem(photo) for photo in photos]
    if all(stem.isascii() and stem.isdigit() and len(stem) <= 12 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return dict(zip(photos, numbers, strict=True))
    return {photo: number for number, photo in enumerate(photos, 1)}


def _print(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

"""What `lucid-mlx segment` writes: files for each photo, and files for all of them together."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.results.segmentation import Segmentation
from lucid_mlx.utils.files import check_output_files, encode_image, image_format, write_file

# What a format adds to the photo's name; `coco` has one file for all photos.
SUFFIXES = {
    "overlay": ".png",
    "mask": "-mask.png",
    "panoptic": "-panoptic.png",
    "json": ".json",
    "labelme": "-labelme.json",
    "coco": "",
}
SHARED_FILES = {"coco": "coco.json", "panoptic": "panoptic.json"}
STANDARD_OUTPUT = Path("-")


def make_writer(
    photos: Sequence[str], formats: Sequence[str], output: Path | None, options: dict[str, Any]
) -> "Writer":
    """Decide where results go: one photo in one format to a file, everything else to a folder.

    Args:
        photos: names of the photos.
        formats: names of `SUFFIXES`.
        output: what the user asked for, if anything.
        options: of the overlay.

    Raises:
        InputError: for an unknown format, or an output that cannot hold what is asked for.
    """
    for name in formats:
        if name not in SUFFIXES:
            raise InputError(f"there is no format {name!r}; expected one or more of {', '.join(SUFFIXES)}")
    if output == STANDARD_OUTPUT:
        if len(formats) > 1 or (len(photos) > 1 and formats[0] not in ("json", "coco")):
            raise InputError("standard output takes one format; for several photos json or coco")
        return Writer(formats, STANDARD_OUTPUT, True, options)
    single = len(photos) == len(formats) == 1 and "panoptic" not in formats
    if output is None:
        name = f"segmented{SUFFIXES[formats[0]] or '.json'}" if single else "segmented"
        return Writer(formats, Path(name), single, options)
    if output.is_dir():
        return Writer(formats, output, False, options)
    if not single and output.suffix:
        raise InputError(f"{output} looks like one file; several photos or formats, and panoptic, need a folder")
    if (
        single
        and formats[0] in ("overlay", "mask")
        and Image.registered_extensions().get(output.suffix) not in Image.SAVE
    ):
        raise InputError(f"{output} does not name an image format; expected a suffix like .png or .jpg")
    if not output.parent.is_dir():
        raise InputError(f"the folder {output.parent} does not exist; create it first")
    return Writer(formats, output, single, options)


class Writer:
    """Writes results to a file, a folder or standard output.

    Args:
        formats: names of `SUFFIXES`.
        path: a folder, a file, or `STANDARD_OUTPUT`.
        single: whether all goes to one file.
        options: of the overlay.
    """

    def __init__(self, formats: Sequence[str], path: Path, single: bool, options: dict[str, Any]):
        self.formats, self.path, self.single, self.options = formats, path, single, options
        self._images: list[dict[str, Any]] = []
        self._annotations: dict[str, list[dict[str, Any]]] = {name: [] for name in SHARED_FILES}
        self._categories: list[dict[str, Any]] = []

    @property
    def to_stdout(self) -> bool:
        """Whether results leave through standard output."""
        return self.path == STANDARD_OUTPUT

    def check_outputs(self, photos: Sequence[str], inputs: Iterable[Path], force: bool) -> None:
        """Refuse what cannot be written before any work is done, and make the folder.

        Args:
            photos: names of the photos.
            inputs: files that are read, which are never overwritten.
            force: whether other files may be overwritten.

        Raises:
            InputError: if a file cannot be written, is read, is there already and not to be replaced, or two photos
                share a name.
        """
        if self.to_stdout:
            return
        files = [path for photo in photos for path in self._files(photo).values()]
        twice = next((path for number, path in enumerate(files) if path in files[:number]), None)
        if twice is not None:
            raise InputError(f"two photos would both be written to {twice}; segment them one after the other")
        shared = [self._shared_file(name) for name in self.formats if name in SHARED_FILES]
        if not self.single:
            try:
                self.path.mkdir(exist_ok=True)
            except OSError as error:
                raise InputError(f"the folder {self.path} cannot be made: {error}") from error
        check_output_files([*files, *shared], inputs, force)

    def write(self, result: Segmentation) -> list[Path]:
        """Write what one photo gives; return the files."""
        assert result.name is not None
        files = self._files(result.name)
        for name, path in files.items():
            self._emit(self._encoded(name, result, path), path)
        number, (height, width) = len(self._images) + 1, result.map.shape
        self._images.append({"id": number, "file_name": result.name, "width": width, "height": height})
        self._categories = [{"id": key, "name": name} for key, name in result.labels.items()]
        if "coco" in self.formats:
            self._annotations["coco"] += result.to_coco(number, len(self._annotations["coco"]) + 1)
        if "panoptic" in self.formats:
            annotation = {**result.to_panoptic_png()[1], "image_id": number, "file_name": files["panoptic"].name}
            self._annotations["panoptic"].append(annotation)
        return list(files.values())

    def close(self) -> list[Path]:
        """Write what there is one of for all photos; return the files."""
        written = []
        for name in self.formats:
            if name in SHARED_FILES and not (self.to_stdout and name == "panoptic"):
                value = {
                    "images": self._images,
                    "annotations": self._annotations[name],
                    "categories": self._categories,
                }
                self._emit(_json(value), self._shared_file(name))
                written.append(self._shared_file(name))
        return written

    def _files(self, photo: str) -> dict[str, Path]:
        """Return the files that a photo has of its own, by format."""
        names = [name for name in self.formats if SUFFIXES[name]]
        if self.single:
            return dict.fromkeys(names, self.path)
        stem = "photo" if photo == "-" else Path(photo.split("?")[0]).stem
        return {name: self.path / f"{stem}{SUFFIXES[name]}" for name in names}

    def _shared_file(self, name: str) -> Path:
        return self.path if self.single else self.path / SHARED_FILES[name]

    def _encoded(self, name: str, result: Segmentation, path: Path) -> bytes:
        if name in ("json", "labelme"):
            return _json(result.to_json() if name == "json" else result.to_labelme())
        if name == "overlay":
            picture = result.draw(**self.options)
        else:
            picture = result.to_mask() if name == "mask" else result.to_panoptic_png()[0]
        return encode_image(picture, "PNG" if self.to_stdout else image_format(path))

    def _emit(self, data: bytes, path: Path) -> None:
        if self.to_stdout:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_file(path, data)


def _json(value: Any) -> bytes:
    return (json.dumps(value) + "\n").encode()

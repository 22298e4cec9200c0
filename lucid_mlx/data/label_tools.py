"""Which tool wrote the JSON files of a folder, or a JSON list: labelme, Supervisely or Label Studio."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.label_files import LABEL_FORMATS
from lucid_mlx.data.label_studio import label_studio_dataset
from lucid_mlx.data.labeled_photo import MAX_LABEL_BYTES
from lucid_mlx.data.labelme import labelme_dataset
from lucid_mlx.data.supervisely import META, supervisely_dataset
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import is_file, read_json
from lucid_mlx.utils.open_image import is_picture
from lucid_mlx.utils.text import shown

BRUSH_PNG = re.compile(r"task-\d+-annotation-.*\.png")  # as Label Studio's export of brushes calls them
SAMPLE = 10  # files that are read to find out which tool wrote them


def open_tool_labels(
    images: Path, labels: Path, class_names: Sequence[str] | None, split: Collection[str] | None, orientation: str
) -> Dataset | None:
    """Open labels with a JSON file for each photo, or Label Studio's JSON.

    Args:
        images: the folder with the photos.
        labels: the folder with the JSON files, or Label Studio's file.
        class_names: the classes to use, in their order; None for all.
        split: the names of the images to use; None for all.
        orientation: "stored", "upright" or "auto", as `open_dataset` takes it.

    Returns:
        The dataset; None if these are labels of another kind: COCO's JSON, or label maps with their class names.

    Raises:
        InputError: if nothing can be learned from them, or something contradicts itself.
    """
    if not labels.is_dir():
        if not is_file(labels) or not _is_list(labels):
            return None
        return label_studio_dataset(images, labels, class_names, split=split, orientation=orientation)
    if brush := next((path.name for path in labels.iterdir() if BRUSH_PNG.fullmatch(path.name)), None):
        raise InputError(
            f"{labels} has masks of Label Studio's brushes, such as {shown(brush, 200)}, which do not say of which "
            "photo they are; export the project as JSON, which has the brushes too, and give that file"
        )
    files = _json_files(labels)
    if not files or (class_names is not None and _has_label_maps(images, {file.parent for file in files})):
        return None
    for file in files[:SAMPLE]:
        try:
            raw = read_json(file, "labels", MAX_LABEL_BYTES)
        except InputError:  # told by the reader, if another file tells which
            continue
        if isinstance(raw.get("shapes"), list) and "imagePath" in raw:
            return labelme_dataset(images, files, labels, class_names, split=split, orientation=orientation)
        if isinstance(raw.get("objects"), list) and isinstance(raw.get("size"), dict):
            return supervisely_dataset(images, files, labels, class_names, split=split, orientation=orientation)
    return None


def _is_list(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _json_files(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        found += [
            Path(parent) / name
            for name in sorted(names)
            if name.lower().endswith(".json") and not name.startswith(".") and name != META
        ]
    return found


def _has_label_maps(images: Path, folders: Collection[Path]) -> bool:
    """Return whether pictures in folders with JSON files are label maps: they are not the photos."""
    pictures = [path for folder in folders for path in folder.iterdir() if is_picture(path)]
    lossless = [path for path in pictures if path.suffix.lower() in LABEL_FORMATS]
    return bool(lossless) and (len(lossless) < len(pictures) or not _is_within(lossless[0], images))


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())

"""A folder of images and a folder of pictures whose gray values are classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from lucid_mlx.data.coco import open_labels
from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.preprocessing import read_image

IGNORE = 255


@dataclass(frozen=True)
class LabelMapRecord:
    """An image and the picture of its classes."""

    path: Path
    labels: Path
    classes: int
    ignore: int
    reduce: bool

    @property
    def name(self) -> str:
        """The image's path."""
        return str(self.path)

    def image(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8."""
        return read_image(self.path)

    def target(self) -> Target:
        """Read the classes, a part for each that is present.

        Raises:
            InputError: if the picture cannot be read, is no gray or palette picture, or has an unknown label.
        """
        picture = open_labels(self.labels)
        if picture.mode not in ("L", "P", "1") and not picture.mode.startswith("I"):
            raise InputError(f"{self.labels} has mode {picture.mode}; expected gray values or a palette's numbers")
        labels = np.asarray(picture).astype(np.int32)
        shift = 1 if self.reduce else 0
        present = np.unique(labels)
        present = present[(present != self.ignore) & (present >= shift)]
        if present.size and present[-1] - shift >= self.classes:
            row, column = np.argwhere(labels == present[-1])[0]
            raise InputError(
                f"{self.labels} has the label {present[-1]} at x={column}, y={row}; expected {shift} to "
                f"{self.classes - 1 + shift}, or {self.ignore} where nothing is known"
            )
        masks = labels == present[:, None, None]
        areas = np.count_nonzero(masks, axis=(1, 2)).astype(np.float64)
        return Target(masks, present - shift, np.zeros(len(present), bool), areas, present.astype(object))


def label_maps(
    images: str | PathLike[str],
    labels: str | PathLike[str],
    names: Sequence[str],
    *,
    ignore: int = IGNORE,
    reduce: bool = False,
    endings: tuple[str, str] | None = None,
) -> Dataset:
    """Open a dataset for semantic segmentation, such as ADE20K's or Cityscapes' folders.

    Args:
        images: the folder with the images; those in folders within it count too.
        labels: the folder with the label maps, of the same names as the images but for the ending.
        names: of the classes, by label.
        ignore: the label of pixels that count in nothing.
        reduce: whether label 0 is also one of those, and classes count from 1, as in ADE20K.
        endings: what the names of images and of label maps end with, such as `("_leftImg8bit.png",
            "_gtFine_labelTrainIds.png")`; None for any kind of picture, and `.png`.

    Raises:
        InputError: if a folder is missing or holds no images, or label maps are missing.
    """
    folder, maps = Path(images), Path(labels)
    for path, what in ((folder, "images"), (maps, "label maps")):
        if not path.is_dir():
            raise InputError(f"the folder {path} does not exist; expected the {what}")
    if repeated := sorted({name for name in names if list(names).count(name) > 1}):
        raise InputError(f"several classes are called {repeated[0]!r}")
    problems = Problems(str(maps))
    records = []
    for path in sorted(folder.rglob(f"*{endings[0]}" if endings else "*")):
        kind = Image.registered_extensions().get(path.suffix.lower())
        if not path.is_file() or path.name.startswith(".") or kind not in Image.OPEN:
            continue
        relative = path.relative_to(folder)
        stem = relative.name.removesuffix(endings[0]) if endings else relative.stem
        label_map = maps / relative.with_name(stem + (endings[1] if endings else ".png"))
        if not label_map.is_file():
            problems.add(f"{path} has no label map: {label_map} does not exist")
        records.append(LabelMapRecord(path, label_map, len(names), ignore, reduce))
    if not records:
        raise InputError(f"the folder {folder} holds no images" + (f" called *{endings[0]}" if endings else ""))
    problems.tell()
    return Dataset("semantic", tuple(names), frozenset(), records)

"""Photos that EXIF turns, and labels that were drawn on the pixels as they are stored, or as a viewer shows them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lucid_mlx.data.notices import Notices
from lucid_mlx.utils.open_image import open_image
from lucid_mlx.utils.validation import check_choice

Size = tuple[int, int]

ORIENTATIONS = ("auto", "stored", "upright")
ORIENTATION_TAG = 0x0112  # of EXIF
# For each value of the tag, what makes stored pixels upright: mirror the rows, mirror the columns, then transpose.
TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}


class PhotoHeader(NamedTuple):
    """What the header of a photo says.

    Attributes:
        size: (height, width) of the pixels as they are stored.
        exif: EXIF's orientation, 1 to 8; 1 if there is none.
    """

    size: Size
    exif: int

    @property
    def upright_size(self) -> Size:
        """(height, width) of the photo as a viewer shows it, and as `read_image` reads it."""
        return self.size[::-1] if TURNS[self.exif][2] else self.size


def read_header(path: Path) -> PhotoHeader | None:
    """Read size and orientation of a photo; its pixels are not decoded.

    Args:
        path: the file.

    Returns:
        The header; None if the file cannot be read, which reading its pixels will report.
    """
    try:
        with open_image(path, str(path)) as image:
            # Pillow would decode a PNG to look for EXIF behind its pixels.
            has_exif = image.format != "PNG" or "exif" in image.info or "Raw profile type exif" in image.info
            exif = image.getexif().get(ORIENTATION_TAG, 1) if has_exif else 1
            return PhotoHeader((image.height, image.width), exif if exif in TURNS else 1)
    except Exception:  # Pillow raises nearly everything when a file is damaged
        return None


def label_turns(
    photos: Sequence[tuple[str, PhotoHeader, Size | None]], orientation: str, notices: Notices
) -> list[int]:
    """Find out for which pixels of EXIF-turned photos the labels are, and tell it.

    For "auto", labels of the size of the stored pixels are for those, unless upright ones have the same size. Where
    sizes cannot tell, labels are for what those of the other photos are for, and for upright pixels if none tells.

    Args:
        photos: the name of each photo, its header, and the (height, width) of its labels, None if that is not known.
        orientation: "stored" or "upright" to decide it for all photos, or "auto".
        notices: where to tell it.

    Returns:
        For each photo the orientation with which `turn_labels` turns its labels upright; 1 if they are upright already.

    Raises:
        InputError: if the orientation is unknown.
    """
    check_choice("orientation", orientation, ORIENTATIONS)
    found: list[str | None] = []
    for _, header, size in photos:
        turns = header.exif != 1
        differ = turns and header.size != header.upright_size
        if turns and orientation != "auto":
            found.append(orientation)
        elif differ and size in (header.size, header.upright_size):
            found.append("stored" if size == header.size else "upright")
        else:
            found.append(None if turns else "upright")
    told = {side for side, (_, header, _) in zip(found, photos, strict=True) if side and header.exif != 1}
    default = "stored" if told == {"stored"} else "upright"
    exifs = []
    for side, (name, header, _) in zip(found, photos, strict=True):
        if header.exif != 1 and orientation == "auto":
            chosen = side or default
            why = "by their size" if side else f'by guess; orientation = "{_other(chosen)}" takes the other'
            notices.add("photo", f"turned by EXIF, with labels for the {chosen} pixels ({why})", name)
        exifs.append(header.exif if (side or default) == "stored" else 1)
    return exifs


def _other(orientation: str) -> str:
    return "upright" if orientation == "stored" else "stored"


def turn_labels(labels: np.ndarray, exif: int) -> np.ndarray:
    """Turn labels of stored pixels upright.

    Args:
        labels: (H, W) of any type, for the pixels as they are stored.
        exif: EXIF's orientation, 1 to 8.

    Returns:
        (H, W) or (W, H): a view of the labels, for the photo as it is shown.
    """
    mirror_rows, mirror_columns, transpose = TURNS[exif]
    labels = labels[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
    return labels.T if transpose else labels

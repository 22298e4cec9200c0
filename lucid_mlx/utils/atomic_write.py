"""Files that are complete or not there, pictures among them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from lucid_mlx.errors import InputError


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a place beside a file to write to; what is there in the end replaces the file, if all went well.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: the folder {path.parent} does not exist; create it first")
    try:
        with tempfile.TemporaryDirectory(prefix=".lucid-mlx-", dir=path.parent) as folder:
            place = Path(folder) / path.name
            yield place
            place.replace(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def write_file(path: Path, data: bytes) -> Path:
    """Write a file beside its place and move it there when it is complete.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    with draft(path) as place:
        place.write_bytes(data)
    return path


def picture_format(path: Path) -> str:
    """Return Pillow's name of the format that the path's ending names.

    Raises:
        InputError: if no format that can be written has that ending.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise InputError(f"{path} does not name a picture format; expected an ending like .png or .jpg")
    return kind


def write_picture(path: Path, picture: Image.Image) -> Path:
    """Write a picture in the format that the path's ending names.

    Args:
        path: where; what is there is replaced.
        picture: what to write.

    Returns:
        The path.

    Raises:
        InputError: if the format cannot hold the picture, or it cannot be written; what was there before is then still
            there.
    """
    return write_file(path, encode_picture(picture, picture_format(path)))


def encode_picture(picture: Image.Image, kind: str) -> bytes:
    """Return a picture as a file.

    Raises:
        InputError: if the format cannot hold it.
    """
    buffer = BytesIO()
    try:
        picture.save(buffer, kind)
    except Exception as error:  # Pillow's encoders raise nearly everything, such as for a picture too large for them
        raise InputError(f"a picture of {picture.width}x{picture.height} cannot be {kind}: {error}") from error
    return buffer.getvalue()

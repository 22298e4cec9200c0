"""Write a file completely or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_writable
from lucid_mlx.utils.temporary_folder import temporary_folder


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file through a temporary one, which replaces it when the block ends without an error.

    Args:
        path: the file; its folder must exist. A symbolic link stays, and the file that it names is written.

    Yields:
        The path of the temporary file, which has the same name in a folder of its own on the same disk.

    Raises:
        InputError: if the file cannot be written; an earlier version of it is then unchanged.
    """
    check_writable(path)
    try:
        target = path.resolve()
        with temporary_folder(target.parent) as folder:
            temporary = folder / path.name
            yield temporary
            temporary.replace(target)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def write_file(path: Path, data: bytes) -> Path:
    """Write bytes to a file, completely or not at all.

    Args:
        path: the file; an existing one is replaced.
        data: its contents.

    Returns:
        The path.

    Raises:
        InputError: if the file cannot be written; an earlier version of it is then unchanged.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
    return path


def image_format(path: Path) -> str:
    """Return Pillow's name of the image format that belongs to a file's suffix, such as "PNG".

    Args:
        path: the file; it need not exist.

    Returns:
        The name.

    Raises:
        InputError: if Pillow cannot write a format with that suffix.
    """
    name = Image.registered_extensions().get(path.suffix.lower())
    if name is None or name not in Image.SAVE:
        raise InputError(f"{path} does not name an image format; expected a suffix like .png or .jpg")
    return name


def write_image(path: Path, image: Image.Image) -> Path:
    """Write an image in the format that belongs to the file's suffix, completely or not at all.

    Args:
        path: the file; an existing one is replaced.
        image: what to write.

    Returns:
        The path.

    Raises:
        InputError: if the format cannot hold the image, or the file cannot be written; an earlier version of it is
            then unchanged.
    """
    return write_file(path, encode_image(image, image_format(path)))


def encode_image(image: Image.Image, format: str) -> bytes:
    """Encode an image.

    Args:
        image: what to encode.
        format: Pillow's name of the format, such as "PNG".

    Returns:
        The contents of an image file.

    Raises:
        InputError: if the format cannot hold the image.
    """
    buffer = BytesIO()
    try:
        image.save(buffer, format)
    except Exception as error:  # Pillow's encoders raise nearly everything, such as for an image that is too large
        raise InputError(f"an image of {image.width}x{image.height} cannot be saved as {format}: {error}") from error
    return buffer.getvalue()

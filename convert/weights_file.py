"""Find the file with the weights of a folder, and open it by what it begins with, whatever it is called."""

import re
import warnings
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import mlx.core as mx

from lucid_mlx.convert.torch_file import read_torch_file
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import check_file, is_file, read_text
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.weights.checkpoint import WEIGHT_FILES, WEIGHTS_FILE, read_safetensors

PICKLE_SUFFIXES = {".bin", ".pth", ".pt", ".pkl", ".ckpt"}
SUFFIXES = {".safetensors", *PICKLE_SUFFIXES}
MAX_ENTRIES = 2000  # of a folder and the folders in it that are looked at

# What trainers write beside the weights.
_NO_WEIGHTS = re.compile(r"(?:optimizer|scheduler|scaler|sampler|rng_state|random_states?|training_args|trainer_state)")
_OTHER_FILES = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: run `git lfs pull`",
    b"<": "is a web page, not weights; download the file itself",
    b"{": "is JSON, not weights",
    b"\x89HDF": "is an HDF5 file, as Keras writes it; expected weights of torch or safetensors",
    b"\x1f\x8b": "is compressed by gzip: unpack it, and give what is in it",
    b"BZh": "is compressed by bzip2: unpack it, and give what is in it",
    b"\xfd7zXZ": "is compressed by xz: unpack it, and give what is in it",
    b"7z\xbc\xaf": "is compressed by 7-Zip: unpack it, and give what is in it",
    b"Rar!": "is compressed by RAR: unpack it, and give what is in it",
    b"GGUF": "is a GGUF file; expected weights of torch or safetensors",
}


def find_weights(folder: Path) -> Path:
    """Find the file with a folder's weights, or with the index of its shards.

    Args:
        folder: as Hugging Face, OpenMMLab, detectron2 or Lightning write it.

    Returns:
        The file.

    Raises:
        InputError: if there is none, or there are several; the message names them.
    """
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(x for x in islice(folder.iterdir(), MAX_ENTRIES) if _may_hold_weights(x))
    if len(found) == 1:
        return found[0]
    if latest := _last_checkpoint(folder, found):
        warnings.warn(f"{folder} holds {len(found)} checkpoints; the last, {latest.name}, is taken", stacklevel=5)
        return latest
    names = ", ".join(printable(file.name) for file in found[:8]) + (f" and {len(found) - 8} more" if found[8:] else "")
    if not found and (below := sorted(islice(_checkpoints_below(folder), 8))):
        names = f"none itself, but {', '.join(printable(str(path)) for path in below)}: give one of them"
    raise InputError(f"{folder} must hold {WEIGHTS_FILE} or a single checkpoint file; found {names or 'none'}")


def _may_hold_weights(file: Path) -> bool:
    return file.suffix in SUFFIXES and is_file(file) and not _NO_WEIGHTS.match(file.name)


def _last_checkpoint(folder: Path, found: list[Path]) -> Path | None:
    """Return the checkpoint that the trainer calls its last: mmengine and detectron2 write its name into a file."""
    try:
        named = Path(read_text(folder / "last_checkpoint", "the name of a file", 4000).strip()).name
    except InputError:
        named = "last.ckpt"  # Lightning's
    return next((file for file in found if file.name == named), None)


def _checkpoints_below(folder: Path) -> Iterator[Path]:
    """Yield what in the folders below may be given instead, such as checkpoint-500 or lightning_logs/.../last.ckpt."""
    for pattern in ("*/*", "*/*/*", "*/*/*/*"):
        found = [x for x in islice(folder.glob(pattern), MAX_ENTRIES) if _may_hold_weights(x)]
        if found:
            yield from dict.fromkeys(x.parent if x.name in WEIGHT_FILES else x for x in found)
            return


def read_weights_file(path: Path) -> tuple[Mapping[str, mx.array], Mapping[str, str]]:
    """Open a file of weights.

    Args:
        path: of safetensors, or of any format of torch; a file with another suffix is known by its first bytes.

    Returns:
        Its arrays, in the shapes that they have in the file, and its metadata.

    Raises:
        InputError: if it holds something else, or is damaged.
    """
    check_file(path, "a checkpoint")
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    safetensors = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
    pickled = start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and b"\2" <= start[1:2] <= b"\5")
    if safetensors or (path.suffix == ".safetensors" and not pickled):
        if not safetensors:
            _refuse_other_files(path, start)
        return read_safetensors(path)
    if pickled or path.suffix in PICKLE_SUFFIXES:
        if not pickled:
            _refuse_other_files(path, start)
        return read_torch_file(path), {}
    _refuse_other_files(path, start)
    raise InputError(f"{path} is not a checkpoint file; expected one of {', '.join(sorted(SUFFIXES))}")


def _refuse_other_files(path: Path, start: bytes) -> None:
    """Say what a file is that is often taken for weights."""
    if not start:
        raise InputError(f"{path} is damaged or incomplete: it is empty")
    for magic, sentence in _OTHER_FILES.items():
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            raise InputError(f"{shown(str(path), 300)[1:-1]} {sentence}")

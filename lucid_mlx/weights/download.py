"""Download weights to files on disk, and check them.

huggingface_hub downloads from its hub: it resumes, locks and caches. This module adds which files of a repository are
needed, files from other addresses, and checks of digests; `hub_errors` has a sentence for each way it can fail.
"""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from lucid_mlx.errors import InputError
from lucid_mlx.utils import http
from lucid_mlx.utils.files import check_file, temporary_folder
from lucid_mlx.weights.address import HubAddress, WebAddress, parse_address
from lucid_mlx.weights.catalog import OPENMMLAB_NOTE, OPENMMLAB_SERVER
from lucid_mlx.weights.checkpoint import CARD_FILE, CONFIG_FILE, PREPROCESSOR_FILE, WEIGHT_FILES, read_weight_map
from lucid_mlx.weights.hub_errors import (
    as_input_errors,
    ask_once,
    disk_message,
    hub_cache,
    offline_switch,
    switched_off_message,
)
from lucid_mlx.weights.registry import WeightsLike

MAX_WEB_BYTES = 10 << 30


@dataclass(frozen=True)
class LocalFiles:
    """A checkpoint's files on disk.

    Attributes:
        path: a file or a folder.
        name: the address that they were downloaded from, or the path as the user wrote it.
        revision: the commit of files from the Hugging Face hub; None for others.
    """

    path: Path
    name: str
    revision: str | None = None


def download(weights: WeightsLike, *, local_files_only: bool = False) -> LocalFiles:
    """Download weights if they are not on disk yet.

    Args:
        weights: a path, a name on the Hugging Face hub, an address, a registry tag or member; see `parse_address`.
        local_files_only: do not download. The environment variable `LUCID_WEIGHTS_OFFLINE=1` does the same.

    Returns:
        The files on disk; their digests are checked where they are known.

    Raises:
        InputError: if the weights are not available; the message has the reason. The cache never keeps a damaged file.
    """
    address = parse_address(weights)
    if isinstance(address, Path):
        if not address.is_dir():
            check_file(address, "a checkpoint file or a folder with one")
        return LocalFiles(address, str(weights))
    local_files_only = local_files_only or offline_switch() is not None
    if isinstance(address, WebAddress):
        return LocalFiles(_download_from_web(address.url, local_files_only), address.url)
    with as_input_errors(address, weights if isinstance(weights, str) else str(address)):
        return _download_from_hub(address, local_files_only)


def _download_from_hub(address: HubAddress, local_files_only: bool) -> LocalFiles:
    """Download what an address on the hub names; if the hub cannot be reached, take it from the cache."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    problem = None if local_files_only else ask_once(address, address.file or WEIGHT_FILES[0])
    local_files_only = local_files_only or problem is not None
    try:
        if address.file is None:
            folder = _download_repository(address, local_files_only)
            return LocalFiles(folder, address.repository, folder.name)
        file = _download_hub_file(address, address.file, local_files_only)
    except LocalEntryNotFoundError as error:
        if problem is not None:
            error.__cause__ = problem
        raise
    commit = next(parent.name for parent in file.parents if parent.parent.name == "snapshots")
    return LocalFiles(file, f"hf://{address.repository}/{address.file}", commit)


def web_cache() -> Path:
    """Return the cache folder of files from other addresses."""
    home = os.environ.get("LUCID_HOME", "~/.cache/lucid")
    return Path(home).expanduser() / "weights" / "web"


def web_cache_path(url: str) -> Path:
    """Return the path of a file from the web in the cache, which is another one for each address."""
    name = Path(urlsplit(url).path).name
    return web_cache() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"


def sha256(*paths: Path) -> str:
    """Return the digest of a file, or of several files one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        check_file(path, "a file of weights")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _download_repository(address: HubAddress, local_files_only: bool) -> Path:
    """Download the files of a checkpoint from a repository; return the folder of the commit in the cache."""
    for name in WEIGHT_FILES:
        if weights := _download_optional_file(address, name, local_files_only):
            break
    else:
        raise InputError(f"{address} has no weights; expected {', '.join(WEIGHT_FILES[:3])} in the repository")
    # The other files must be of the same commit, also if the branch moves in the meantime.
    address = replace(address, revision=weights.parent.name)
    if weights.name.endswith(".index.json"):
        for shard in sorted(set(read_weight_map(weights).values())):
            _download_hub_file(address, shard, local_files_only)
    for name in (CONFIG_FILE, PREPROCESSOR_FILE, CARD_FILE):
        _download_optional_file(address, name, local_files_only)
    return weights.parent


def _download_optional_file(address: HubAddress, name: str, local_files_only: bool) -> Path | None:
    """Download a file that a repository need not have; return None if it does not have it."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return _download_hub_file(address, name, local_files_only)
    except LocalEntryNotFoundError:  # the hub cannot be reached, but the cache may know that the file does not exist
        known = try_to_load_from_cache(address.repository, name, hub_cache(), address.revision)
        if known is None and name == WEIGHT_FILES[0]:
            raise
        return None
    except EntryNotFoundError:
        return None


def _download_hub_file(address: HubAddress, name: str, local_files_only: bool) -> Path:
    """Download one file and check it against the digest of the registry, or of the hub itself."""
    from huggingface_hub import hf_hub_download

    def hub_path() -> Path:
        return Path(
            hf_hub_download(
                address.repository,
                name,
                revision=address.revision,
                cache_dir=hub_cache(),
                local_files_only=local_files_only,
            )
        )

    path = hub_path()
    # The name of a large file's blob in the cache is its digest, as the hub has it.
    digest = blob_path(path).name
    expected = address.sha256 or (digest if re.fullmatch("[0-9a-f]{64}", digest) else None)
    if expected is None or sha256(path) == expected:
        return path
    remove_from_hub_cache(path)  # cut off or changed on disk, or replaced by its publisher
    if local_files_only:
        raise InputError(f"the cached copy of {address} was damaged and is removed; go online and try again")
    path = hub_path()
    if (actual := sha256(path)) != expected:
        remove_from_hub_cache(path)
        raise InputError(_digest_message(str(address), expected, actual))
    return path


def blob_path(path: Path) -> Path:
    """Return the file that a path in the hub's cache links to."""
    return path.parent / path.readlink() if path.is_symlink() else path


def remove_from_hub_cache(path: Path) -> None:
    """Remove a file from the hub's cache: the link and the file that it links to."""
    blob_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _digest_message(name: str, expected: str, actual: str) -> str:
    return (
        f"{name} has the sha256 {actual}, expected {expected}: its publisher replaced it, or it was changed during the "
        "download; it was not kept"
    )


def _download_from_web(url: str, local_files_only: bool) -> Path:
    path = web_cache_path(url)
    if path.exists():
        _check_web_digest(path, url)
        return path
    if local_files_only:
        raise InputError(switched_off_message(url, path.parent))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(path.parent) as folder:
            temporary = folder / path.name
            with temporary.open("wb") as file:
                http.download(url, file, max_bytes=MAX_WEB_BYTES, progress=True)
            _check_web_digest(temporary, url)
            _check_weights(temporary, url)
            temporary.replace(path)
    except InputError as error:
        if url.startswith(OPENMMLAB_SERVER):
            raise InputError(f"{error}; {OPENMMLAB_NOTE}") from None
        raise
    except OSError as error:
        raise InputError(disk_message(path.parent, error)) from None
    return path


def _check_web_digest(path: Path, url: str) -> None:
    """Check a file by torch's and OpenMMLab's convention: a name ends with the first digits of the file's digest."""
    digits = re.search(r"-([0-9a-f]{8,64})\.\w+$", path.name)
    if digits and not (actual := sha256(path)).startswith(digits[1]):
        path.unlink()
        raise InputError(_digest_message(url, digits[1] + "…", actual))


def _check_weights(path: Path, url: str) -> None:
    """Check that a file begins as weights do: safetensors as its suffix says, or one of torch's formats."""
    with path.open("rb") as file:
        start = file.read(9)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"<", b"{", b"[")):
        raise InputError(
            f"{url} answered with {'a web page' if text.startswith(b'<') else 'JSON'}, not with weights; open it in a "
            "browser to see what it says, and give the address of the file itself"
        )
    safetensors = start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
    torch = start.startswith(b"PK\3\4") or (start[:1] == b"\x80" and b"\2" <= start[1:2] <= b"\5")
    if not (safetensors or (torch and path.suffix != ".safetensors")):
        kinds = "a safetensors file" if path.suffix == ".safetensors" else "safetensors, or torch's zip or pickle"
        raise InputError(f"{url} does not begin as weights do; expected {kinds}; it was not kept")

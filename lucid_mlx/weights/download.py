"""From an address to files on disk.

huggingface_hub downloads, resumes, locks and keeps what is on its hub; pooch does it for other addresses. Here is
what they leave: which files of a repository are wanted, digests, and one sentence for each way it can fail.
"""

import errno
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lucid_mlx.errors import InputError
from lucid_mlx.weights.address import HubAddress, WebAddress, parse_address
from lucid_mlx.weights.checkpoint import CARD, CONFIG, INDEX, PREPROCESSOR, WEIGHTS, parts_of_index
from lucid_mlx.weights.registry import WeightsLike

# What may hold a repository's weights, the first that is there counts.
WEIGHT_FILES = (WEIGHTS, INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Downloaded:
    """Weights on disk.

    Attributes:
        path: a file or a folder.
        name: the address they came from, or the path as it was given.
        revision: the commit, of what came from the hub.
    """

    path: Path
    name: str
    revision: str | None = None


def download(weights: WeightsLike, *, cached: bool = False) -> Downloaded:
    """Return where weights lie on disk, after a download if need be.

    Args:
        weights: a path, a name on the hub, an address, a registry tag or member; see `parse_address`.
        cached: do not download.

    Raises:
        InputError: one sentence for each way this can fail; the cache is whole in any case.
    """
    address = parse_address(weights)
    if isinstance(address, Path):
        return Downloaded(address, str(weights))
    cached = cached or os.environ.get("LUCID_WEIGHTS_OFFLINE") == "1"
    if isinstance(address, WebAddress):
        return Downloaded(_from_web(address.url, cached), address.url)
    with _sentences(address):
        if address.file is None:
            folder = _repository(address, cached)
            return Downloaded(folder, address.repository, folder.name)
        file = _hub_file(address, address.file, cached)
        commit = next(parent.name for parent in file.parents if parent.parent.name == "snapshots")
        return Downloaded(file, f"hf://{address.repository}/{address.file}", commit)


def hub_cache() -> Path:
    """Return the folder where huggingface_hub keeps files: its own, or one within `LUCID_HOME` if that is set."""
    from huggingface_hub import constants

    home = os.environ.get("LUCID_HOME")
    return Path(home).expanduser() / "weights" / "hub" if home else Path(constants.HF_HUB_CACHE)


def web_cache() -> Path:
    """Return the folder where files from other addresses are kept."""
    home = os.environ.get("LUCID_HOME", "~/.cache/lucid")
    return Path(home).expanduser() / "weights" / "web"


def web_file(url: str) -> Path:
    """Return where a file from the web is kept: two addresses never share a place."""
    name = Path(urlsplit(url).path).name
    return web_cache() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _repository(address: HubAddress, cached: bool) -> Path:
    """Get the files of a repository that a model is made of; return the folder of the commit."""
    for name in WEIGHT_FILES:
        if weights := _optional(address, name, cached):
            break
    else:
        raise InputError(f"{address} has no weights; expected {', '.join(WEIGHT_FILES[:3])} in the repository")
    if weights.name.endswith(".index.json"):
        for part in sorted(set(parts_of_index(weights).values())):
            _hub_file(address, part, cached)
    for name in (CONFIG, PREPROCESSOR, CARD):
        _optional(address, name, cached)
    return weights.parent


def _optional(address: HubAddress, name: str, cached: bool) -> Path | None:
    """Get a file that a repository need not have."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return _hub_file(address, name, cached)
    except LocalEntryNotFoundError:  # the hub cannot be asked; the cache may know all the same that there is none
        known = try_to_load_from_cache(address.repository, name, hub_cache(), address.revision)
        if known is None and name in WEIGHT_FILES[:1]:
            raise
        return None
    except EntryNotFoundError:
        return None


def _hub_file(address: HubAddress, name: str, cached: bool) -> Path:
    """Get one file and check it against the digest that the registry, or the hub itself, gave for it."""
    from huggingface_hub import hf_hub_download

    def get() -> Path:
        return Path(
            hf_hub_download(
                address.repository,
                name,
                revision=address.revision,
                cache_dir=hub_cache(),
                local_files_only=cached,
            )
        )

    path = get()
    # The hub names large files by their digest, and the cache keeps them under that name.
    digest = blob_of(path).name
    expected = address.sha256 or (digest if re.fullmatch("[0-9a-f]{64}", digest) else None)
    if expected is None or sha256(path) == expected:
        return path
    remove(path)  # cut off or altered on disk, or replaced by its publisher
    if cached:
        raise InputError(f"the cached copy of {address} was damaged and is removed; go online and try again")
    path = get()
    if (found := sha256(path)) != expected:
        remove(path)
        raise InputError(_mismatch(str(address), expected, found))
    return path


def blob_of(path: Path) -> Path:
    """Return the file that a path in the hub's cache links to."""
    return path.parent / path.readlink() if path.is_symlink() else path


def remove(path: Path) -> None:
    """Remove a file from the hub's cache: the link to it and what it links to."""
    blob_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _mismatch(name: str, expected: str, found: str) -> str:
    return (
        f"{name} has the sha256 {found}, expected {expected}: its publisher replaced it, or it was altered on the way; "
        "it was not kept"
    )


def _from_web(url: str, cached: bool) -> Path:
    import pooch
    import requests

    path = web_file(url)
    if not path.exists():
        if cached or _hub_is_offline():
            raise InputError(f"{url} is not in the cache, and downloads are switched off")
        pooch.get_logger().setLevel("WARNING")
        try:
            downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty())
            pooch.retrieve(url, None, path.name, path.parent, downloader=downloader)
        except requests.HTTPError as error:
            raise InputError(_status(url, error.response.status_code)) from error
        except requests.RequestException as error:
            raise InputError(f"{url} cannot be reached, or the download was cut: {error}") from error
        except ValueError as error:
            raise InputError(f"{url} cannot be downloaded: {error}") from error
        except OSError as error:
            raise InputError(_disk(path.parent, error)) from error
    # torch's and OpenMMLab's convention: a name ends with the first digits of the file's digest.
    digits = re.search(r"-([0-9a-f]{8,64})\.\w+$", path.name)
    if digits and not (found := sha256(path)).startswith(digits[1]):
        path.unlink()
        raise InputError(_mismatch(url, digits[1] + "…", found))
    return path


def _hub_is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def _sentences(address: HubAddress) -> Iterator[None]:
    """Turn what huggingface_hub raises into one sentence."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(
            f"{address} asks for consent: accept its conditions at https://huggingface.co/{address.repository}, then "
            "log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{address.repository} has no revision {address.revision!r}") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{address.repository} is no folder here and no public model on the hub; if it is private, log in with "
            "`hf auth login`"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(_unreachable(address, error)) from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"{address.repository} has no file {address.file} at {address.revision}") from error
    except errors.HfHubHTTPError as error:
        raise InputError(_status(str(address), error.response.status_code)) from error
    except errors.HFValidationError as error:
        raise InputError(f"{address} is no name on the hub: {error}") from error
    except OSError as error:
        raise InputError(_disk(hub_cache(), error)) from error
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "huggingface_hub")):
            raise
        raise InputError(f"the download of {address} failed: {error or type(error).__name__}; try again") from error


def _unreachable(address: HubAddress, error: Exception) -> str:
    cause = error.__cause__
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status is not None:
        return _status(str(address), status)
    if _hub_is_offline() or cause is None:
        return f"{address} is not in the cache, and downloads are switched off"
    return f"{address} is not in the cache, and the hub cannot be reached: {cause or type(cause).__name__}"


def _status(name: str, status: int) -> str:
    reasons: dict[int, str] = {
        401: "it asks for a login: `hf auth login`, or set HF_TOKEN",
        403: "access is denied",
        404: "there is no such file",
        429: "too many requests; wait a few minutes, or log in with `hf auth login`",
    }
    reason = reasons.get(status, "the server has a problem; try again later" if status >= 500 else "it was refused")
    return f"{name} cannot be downloaded (HTTP {status}): {reason}"


def _disk(folder: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk with {folder} is full; make room, or set LUCID_HOME or HF_HOME to another disk"
    return f"{folder} cannot be written: {error}"

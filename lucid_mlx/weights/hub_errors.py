"""What huggingface_hub raises, as one sentence that says how to go on."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lucid_mlx.errors import InputError
from lucid_mlx.utils import http
from lucid_mlx.weights.address import HubAddress, near_names

_REASONS = {
    401: "it asks for a login: `hf auth login`, or set HF_TOKEN",
    429: "too many requests; wait a few minutes, or log in with `hf auth login`",
}


def hub_cache() -> Path:
    """Return the cache folder of files from the hub: huggingface_hub's own, or one in `LUCID_HOME` if that is set."""
    from huggingface_hub import constants

    home = os.environ.get("LUCID_HOME")
    return Path(home).expanduser() / "weights" / "hub" if home else Path(constants.HF_HUB_CACHE)


def offline_switch() -> str | None:
    """Return the environment variable that switches downloads off; None if there is none."""
    from huggingface_hub import constants

    if os.environ.get("LUCID_WEIGHTS_OFFLINE") == "1":
        return "LUCID_WEIGHTS_OFFLINE"
    return "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else None


def offline_message(name: str, why: str, cache: Path) -> str:
    """Return the sentence for weights that are not on this disk and cannot be downloaded.

    Args:
        name: of the weights, as the user wrote it.
        why: they cannot be downloaded.
        cache: the folder in which they would be.

    Returns:
        The sentence, which names what works without a network.
    """
    local = "" if ":" in name else " is no file or folder here, and"
    return (
        f"{name}{near_names(name)}{local} is not in the cache, and {why}. Without a network, `--weights demo` runs the "
        f"small network of the package; for this one, run `lucid-mlx weights pull {name}` on a machine that has a "
        f"network, and copy its cache folder to {cache} (HF_HOME sets another folder)"
    )


def switched_off_message(name: str, cache: Path) -> str:
    """Return the sentence for weights that are not on this disk while downloads are switched off.

    Args:
        name: of the weights.
        cache: the folder in which they would be.

    Returns:
        The sentence.
    """
    switch = f"{offline_switch()} is set" if offline_switch() else "local_files_only=True"
    return offline_message(name, f"downloads are switched off ({switch})", cache)


def ask_once(address: HubAddress, file: str) -> Exception | None:
    """Ask the hub whether it can be reached: huggingface_hub itself would try for 25 s, with a line for each try.

    Args:
        address: the repository.
        file: a file that it may have.

    Returns:
        Why the hub cannot be reached; None if it answers, be it that there is no such file.
    """
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url

    try:
        url = hf_hub_url(address.repository, file, revision=address.revision)
        get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except errors.HFValidationError:
        return None
    except errors.HfHubHTTPError as error:  # what else it answers is told with the download
        return error if error.response.status_code == 429 or error.response.status_code >= 500 else None
    except Exception as error:
        if not _is_of_the_network(error):
            raise
        return error
    return None


@contextmanager
def as_input_errors(address: HubAddress, name: str) -> Iterator[None]:
    """Replace the exceptions of huggingface_hub by an InputError with one sentence.

    Args:
        address: what is downloaded.
        name: of it, as the user wrote it.

    Yields:
        Nothing.

    Raises:
        InputError: for every way in which the hub, the network or the disk can fail.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        message = _message(address, name, error)
        if message is None:
            raise
        raise InputError(message) from None


def _message(address: HubAddress, name: str, error: Exception) -> str | None:
    """Return the sentence for an exception; None if it is not one of the hub, the network or the disk."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return (
                f"{name} is gated: accept its conditions at https://huggingface.co/{address.repository}, then "
                "log in with `hf auth login`"
            )
        case errors.RevisionNotFoundError():
            return f"{address.repository} has no revision {address.revision!r}"
        case errors.RepositoryNotFoundError():
            return (
                f"{address.repository} is neither a folder on this disk nor a public model on the hub"
                f"{near_names(name)}; if it is private, log in with `hf auth login`"
            )
        case errors.LocalEntryNotFoundError():
            return switched_off_message(name, hub_cache()) if error.__cause__ is None else unreachable(name, error)
        case errors.EntryNotFoundError():
            return f"{address.repository} has no file {address.file} at {address.revision}"
        case errors.HfHubHTTPError():
            return http.http_message(name, error.response.status_code, _REASONS)
        case errors.HFValidationError():
            return f"{name} is not a valid name on the hub: {error}"
        case _ if _is_of_the_network(error):
            return f"the download of {name} failed: {http.network_reason(error)}; try again"
        case OSError():
            return disk_message(hub_cache(), error)
    return None


def unreachable(name: str, error: BaseException) -> str:
    """Return the sentence for a hub that cannot be reached.

    Args:
        name: of the weights.
        error: what was raised, with its cause.

    Returns:
        The sentence.
    """
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status is not None:
        return http.http_message(name, status, _REASONS)
    return offline_message(name, f"the hub cannot be reached ({http.network_reason(cause)})", hub_cache())


def disk_message(folder: Path, error: OSError) -> str:
    """Return the sentence for a cache folder that cannot be written.

    Args:
        folder: the folder.
        error: what was raised.

    Returns:
        The sentence.
    """
    if error.errno == errno.ENOSPC:
        return f"the disk with {folder} is full; free some space, or set LUCID_HOME or HF_HOME to another disk"
    return f"{folder} cannot be written: {error}"


def _is_of_the_network(error: Exception) -> bool:
    return type(error).__module__.startswith(("httpx", "huggingface_hub"))

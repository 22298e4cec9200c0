"""Publish files on the Hugging Face hub; huggingface_hub uploads, and finds the token in its usual places."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lucid_mlx.errors import InputError
from lucid_mlx.utils import http
from lucid_mlx.utils.text import shown
from lucid_mlx.weights.hub_errors import offline_switch

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


def check_repository(repository: str) -> str:
    """Check the name of a repository on the hub, without access to the network.

    Args:
        repository: `owner/name`.

    Returns:
        The name.

    Raises:
        InputError: if it is no such name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented as public

    try:
        validate_repo_id(repository)
        if re.fullmatch(r"[^/]+/[^/]+", repository):
            return repository
    except HFValidationError:
        pass
    raise InputError(
        f"a repository on the hub is named owner/name, such as you/mask2former-mlx, got {shown(repository)}"
    )


def check_login() -> str:
    """Ask the hub who the user is, before something long is done for an upload.

    Returns:
        The user's name on the hub.

    Raises:
        InputError: if there is no token, it is not valid, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    if switch := offline_switch():
        raise InputError(f"{switch} is set, so that nothing can be uploaded; unset it first")
    with _as_input_errors("your account"):
        return str(HfApi().whoami()["name"])


def upload(repository: str, files: Mapping[str, Path | bytes], *, message: str, private: bool = False) -> str:
    """Upload files to a model repository in one commit, and make the repository if there is none.

    Args:
        repository: `owner/name`.
        files: a path on disk or contents by the name in the repository; other files of the repository stay.
        message: of the commit.
        private: make a new repository private; one that is there keeps its visibility.

    Returns:
        The address of the repository.

    Raises:
        InputError: if there is no token or it may not write, the name is not valid, or the hub cannot be reached; the
            repository is then without the commit.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    check_repository(repository)
    check_login()
    api = HfApi()
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    with _as_input_errors(repository):
        # None leaves the visibility of a new repository to the settings of an organization.
        url = api.create_repo(repository, repo_type="model", private=private or None, exist_ok=True)
        api.create_commit(repository, operations, commit_message=message, repo_type="model")
    return str(url)


@contextmanager
def _as_input_errors(name: str) -> Iterator[None]:
    """Replace what huggingface_hub raises by an InputError with one sentence."""
    try:
        yield
    except Exception as error:
        # huggingface_hub wraps what goes wrong with a large file into a RuntimeError.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        message = _message(name, cause)
        if message is None:
            raise
        raise InputError(message) from None


def _message(name: str, error: BaseException) -> str | None:
    """Return the sentence for an error; None if it is not one of the hub or the network."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"the hub asks for a login: {_LOGIN}"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 404):
            return f"the hub does not know your token, or not for {name}: {_LOGIN}"
        if status == 403:
            return (
                f"your token may not write to {name}: it needs write access, and the owner must be you or an "
                "organization that lets you"
            )
        reason = "the hub has a problem; try again later" if status >= 500 else "it was refused"
        return f"{name} cannot be uploaded (HTTP {status}): {reason}"
    if isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "huggingface_hub")):
        return f"the upload of {name} failed: {http.network_reason(error)}; try again"
    return None

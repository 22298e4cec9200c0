"""Libraries that only some verbs need."""

import importlib

from lucid_mlx.errors import InputError


def require(module: str, extra: str) -> None:
    """Make sure that a library is there.

    Args:
        module: what is going to be imported.
        extra: the name of ours under which pip installs it.

    Raises:
        InputError: if it cannot be imported; it tells the command that installs it.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"this needs a library more ({error}): pip install 'lucid-mlx[{extra}]'") from error

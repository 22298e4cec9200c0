"""Libraries that only some verbs need."""

from importlib.util import find_spec

from lucid_mlx.errors import InputError


def require(module: str, extra: str) -> None:
    """Make sure that a library is there, without importing it.

    Args:
        module: what is going to be imported.
        extra: the name of ours under which pip installs it.

    Raises:
        InputError: if it is not installed; it tells the command that does that.
    """
    if find_spec(module) is None:
        raise InputError(f"this needs the library {module}, which is not installed: pip install 'lucid-mlx[{extra}]'")

"""Libraries that only some commands need."""

from importlib.util import find_spec

from lucid_mlx.errors import InputError


def require(module: str, extra: str) -> None:
    """Check that an optional library is installed, without importing it.

    Args:
        module: the module that will be imported.
        extra: the extra of this package that installs it.

    Raises:
        InputError: if it is not installed; the message has the command that installs it.
    """
    if find_spec(module) is None:
        raise InputError(f"this needs the library {module}, which is not installed: pip install 'lucid-mlx[{extra}]'")

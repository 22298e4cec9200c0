"""Builders by name."""

import difflib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import mlx.nn as nn

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_NAME, check_value

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])

_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register_model(builder: Builder) -> Builder:
    """Make a builder known under its own name (a decorator)."""
    _BUILDERS[builder.__name__] = builder
    return builder


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the builders that match a shell pattern, sorted."""
    check_value("pattern", pattern, str)
    return sorted(name for name in _BUILDERS if fnmatchcase(name, pattern))


def create_model(name: str, *args: Any, **kwargs: Any) -> nn.Module:
    """Call a builder by name, as in `create_model("mask2former_swin_tiny", num_labels=150)`.

    Args:
        name: of the builder, such as "mask2former_swin_tiny".
        *args: what the builder takes.
        **kwargs: what the builder takes by name.

    Returns:
        The model.

    Raises:
        InputError: if there is no such builder.
    """
    check_value("name", name, str)
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name[:MAX_NAME], _BUILDERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(list_models())}"
        raise InputError(f"there is no model {shown(name)}; {hint}")
    return _BUILDERS[name](*args, **kwargs)

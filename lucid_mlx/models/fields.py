"""Type checks for the dataclasses that describe networks."""

import math
from collections.abc import Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, get_args, get_origin


def field_problems(config: Any) -> list[str]:
    """List the fields of a dataclass whose values are not of the annotated type, one phrase each.

    A whole number counts as a float, but neither a bool nor a NaN counts as a number.
    """
    return [
        f"{item.name} must be {_describe(item.type)}, got {getattr(config, item.name)!r:.60}"
        for item in fields(config)
        if not _fits(getattr(config, item.name), item.type)
    ]


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is UnionType:
        return any(_fits(value, option) for option in get_args(kind))
    if kind is type(None):
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (list, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    return isinstance(value, origin or kind)


def _describe(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is UnionType:
        return " or ".join(map(_describe, get_args(kind)))
    if origin in (list, Sequence):
        return f"a list of {_describe(get_args(kind)[0]).removeprefix('a ')}s"
    names = {float: "a number", int: "a whole number", type(None): "None", str: "a string", bool: "True or False"}
    return names.get(kind, "a dictionary")

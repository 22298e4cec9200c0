"""Type checks for the dataclasses that describe networks."""

import math
from collections.abc import Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin


def field_problems(config: Any) -> list[str]:
    """List the fields of a dataclass whose values are not of the annotated type, one phrase each.

    A whole number counts as a float, but neither a bool nor a NaN counts as a number.
    """
    problems = (type_problem(item.name, getattr(config, item.name), item.type) for item in fields(config))
    return [problem for problem in problems if problem is not None]


def type_problem(name: str, value: Any, kind: Any) -> str | None:
    """Say in a phrase that a value is not of an annotated type; None if it is."""
    return None if _fits(value, kind) else f"{name} must be {_describe(kind)}, got {value!r:.60}"


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
    if origin is Literal:
        return value in get_args(kind)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    return isinstance(value, origin or kind)


def _describe(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is UnionType:
        return " or ".join(map(_describe, get_args(kind)))
    if origin is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if origin in (list, tuple, Sequence):
        return f"a list of {_describe(get_args(kind)[0]).removeprefix('a ')}s"
    names = {float: "a number", int: "a whole number", type(None): "None", str: "a string", bool: "True or False"}
    return names.get(kind, "a dictionary")

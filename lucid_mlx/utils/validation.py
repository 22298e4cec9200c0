"""Checks of the values of configuration dataclasses."""

import math
from collections.abc import Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from lucid_mlx.errors import InputError


class FieldError(InputError):
    """A dataclass has a wrong value, in one field or in several that do not go together.

    Args:
        message: what is wrong.
        *fields: the names of the fields; with dots for a field of a nested dataclass, such as "logging.eval_every".

    Attributes:
        fields: the names of the fields.
    """

    def __init__(self, message: str, *fields: str):
        super().__init__(message)
        self.fields = fields


def check_minimums(config: Any, **minimums: float) -> None:
    """Check that fields of a dataclass are not below a minimum.

    Args:
        config: the dataclass.
        **minimums: the smallest allowed value of each field, by its name.

    Raises:
        FieldError: if a field is below its minimum.
    """
    for name, minimum in minimums.items():
        if getattr(config, name) < minimum:
            raise FieldError(f"{name} must be at least {minimum}, got {getattr(config, name)}", name)


def field_problems(config: Any) -> list[str]:
    """List the fields of a dataclass whose values are not of the annotated type.

    An int is accepted for a float, but neither a bool nor a NaN is accepted for a number.

    Args:
        config: the instance of the dataclass.

    Returns:
        One phrase for each such field.
    """
    problems = (type_problem(item.name, getattr(config, item.name), item.type) for item in fields(config))
    return [problem for problem in problems if problem is not None]


def type_problem(name: str, value: Any, annotation: Any) -> str | None:
    """Compare a value with a type annotation.

    Args:
        name: of the value, for the message.
        value: to check.
        annotation: the type, as `dataclasses.fields` or `get_type_hints` has it.

    Returns:
        A phrase that says what the value must be; None if it has the type.
    """
    return None if _fits(value, annotation) else f"{name} must be {_describe(annotation)}, got {value!r:.60}"


def _fits(value: Any, annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is UnionType:
        return any(_fits(value, option) for option in get_args(annotation))
    if annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is Literal:
        return value in get_args(annotation)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, get_args(annotation)[0]) for item in value)
    return isinstance(value, origin or annotation)


def _describe(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is UnionType:
        return " or ".join(map(_describe, get_args(annotation)))
    if origin is Literal:
        return f"one of {', '.join(get_args(annotation))}"
    if origin in (list, tuple, Sequence):
        return f"a list of {_describe(get_args(annotation)[0]).removeprefix('a ')}s"
    names = {float: "a number", int: "a whole number", type(None): "None", str: "a string", bool: "True or False"}
    return names.get(annotation, "a dictionary")

"""Checks of the types and ranges of configuration dataclasses and of arguments."""

import math
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from operator import index
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

Range = tuple[float, float]

MAX_BATCH_SIZE = 1024
MAX_COUNT = 1_000_000_000  # of steps, images and the like
MAX_ITEMS = 1_000_000  # of a collection of numbers
MAX_NAME = 500  # characters of the name of a class
MAX_CLASSES = 65534  # a mask image holds ids up to this
MAX_ID = (1 << 24) - 1  # COCO's panoptic files store ids as colors, in three bytes
MAX_IMAGE_VARIABLE = "LUCID_MLX_MAX_IMAGE_MB"
DEFAULT_MAX_IMAGE_MB = 440  # 110 megapixels
BYTES_PER_ROW = 16  # which count only in pictures that are very narrow
BYTES_PER_PIXEL = 4  # as Pillow holds RGB, RGBA, 32-bit integers and floats; other modes take less
MB = 10**6
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


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


def check_fields(config: Any, ranges: Mapping[str, Range]) -> None:
    """Check the types of a dataclass's fields, and that their values are in range.

    Args:
        config: the dataclass.
        ranges: the smallest and the largest allowed value of fields, or of their items, by name.

    Raises:
        FieldError: if a field does not fit.
    """
    for item in fields(config):
        value = getattr(config, item.name)
        if problem := value_problem(item.name, value, item.type, *ranges.get(item.name, ())):
            raise FieldError(problem, item.name)


def field_problems(config: Any, ranges: Mapping[str, Range]) -> list[str]:
    """List the fields of a dataclass whose values are not of the annotated type, or out of range.

    Args:
        config: the instance of the dataclass.
        ranges: as `check_fields` takes them.

    Returns:
        One phrase for each such field.
    """
    problems = (
        value_problem(item.name, getattr(config, item.name), item.type, *ranges.get(item.name, ()))
        for item in fields(config)
    )
    return [problem for problem in problems if problem is not None]


def check_value(name: str, value: Any, annotation: Any, least: float = -math.inf, most: float = math.inf) -> None:
    """Check the type and the range of an argument.

    Args:
        name: of the argument, for the message.
        value: to check.
        annotation: the type, as in a signature.
        least: the smallest allowed number.
        most: the largest allowed number.

    Raises:
        InputError: if it does not fit.
    """
    if problem := value_problem(name, value, annotation, least, most):
        raise InputError(problem)


def check_values(*arguments: tuple[Any, ...]) -> None:
    """Check several arguments.

    Args:
        *arguments: of each what `check_value` takes.

    Raises:
        InputError: if one does not fit.
    """
    for argument in arguments:
        check_value(*argument)


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Check that an argument is one of some words.

    Args:
        name: of the argument, for the message.
        value: to check.
        choices: the words.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")


def whole_numbers(name: str, values: Any, least: int = 0, most: int = MAX_ID) -> list[int]:
    """Check that an argument is a collection of whole numbers, of Python or of an array.

    Args:
        name: of the argument, for the message.
        values: to check.
        least: the smallest allowed number.
        most: the largest allowed number.

    Returns:
        The numbers as Python's own.

    Raises:
        InputError: if it is not.
    """
    try:
        if len(values) > MAX_ITEMS:
            raise InputError(f"{name} must be at most {MAX_ITEMS} whole numbers, got {len(values)}")
        numbers = list(map(index, values))
    except TypeError:  # among them what has no length: it may have no end
        raise InputError(f"{name} must be whole numbers, got {shown(values)}") from None
    check_value(name, numbers, list[int], least, most)
    return numbers


def value_problem(
    name: str, value: Any, annotation: Any, least: float = -math.inf, most: float = math.inf
) -> str | None:
    """Compare a value with a type annotation and a range.

    An int is accepted for a float, but neither a bool nor a NaN is accepted for a number.

    Args:
        name: of the value, for the message.
        value: to check.
        annotation: the type, as `dataclasses.fields` or `get_type_hints` has it.
        least: the smallest allowed number, for a number or each of a list.
        most: the largest allowed number.

    Returns:
        A phrase that says what the value must be; None if it fits.
    """
    if not _fits(value, annotation):
        scalar = getattr(value, "ndim", None) == 0 and hasattr(value, "item")  # of an array library
        return f"{name} must be {_describe(annotation)}, got {shown(value)}{'; use its .item()' if scalar else ''}"
    numbers = [x for x in (value if isinstance(value, list | tuple) else [value]) if isinstance(x, int | float)]
    if min(numbers, default=least) < least:
        return f"{name} must be at least {least}, got {shown(value)}"
    if max(numbers, default=most) > most:
        return f"{name} must be at most {most}, got {shown(value)}"
    return None


def _fits(value: Any, annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is UnionType:
        return any(_fits(value, option) for option in get_args(annotation))
    if annotation is type(None):
        return value is None
    if annotation is float:  # an int of hundreds of digits is none
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str) and not _HALF_CHARACTER.search(value)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(annotation)
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
    return names.get(annotation) or f"a {(origin or annotation).__name__}".replace("a dict", "a dictionary")


def max_image_bytes() -> int:
    """Return how many bytes a decoded image may have, which the environment variable LUCID_MLX_MAX_IMAGE_MB sets.

    Returns:
        The number.

    Raises:
        InputError: if the variable is not a positive number.
    """
    value = os.environ.get(MAX_IMAGE_VARIABLE, str(DEFAULT_MAX_IMAGE_MB))
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) > 0):
        raise InputError(f"{MAX_IMAGE_VARIABLE} is {shown(value)}; expected a number of megabytes such as 1000")
    return int(value) * MB


def check_image_size(width: int, height: int, name: str) -> None:
    """Check that the pixels of an image, or of a video's frame, fit into memory.

    Args:
        width: in pixels.
        height: in pixels.
        name: of the image, for the error.

    Raises:
        InputError: if they take more than `max_image_bytes`.
    """
    size = height * (width * BYTES_PER_PIXEL + BYTES_PER_ROW)
    if size > max_image_bytes():
        raise InputError(
            too_large(f"{name} is {shown(width)}x{shown(height)} pixels, which take {shown(-(-size // MB))} MB")
        )


def too_large(what: str) -> str:
    """Return a sentence for an image above the limit, which says how to lift it.

    Args:
        what: the image and its size.

    Returns:
        The sentence.
    """
    limit = max_image_bytes() // MB
    return f"{what}; the limit is {limit} MB: make it smaller, or set {MAX_IMAGE_VARIABLE} to a larger number"

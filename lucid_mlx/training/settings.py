"""Read the tables of a TOML file into dataclasses; errors name the line of the file."""

import difflib
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from lucid_mlx.errors import InputError
from lucid_mlx.utils.validation import FieldError, type_problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

HEADER = re.compile(r"""\s*\[([\w\s."'-]+)\]""")
ASSIGNMENT = re.compile(r"""\s*([\w\s."'-]+?)\s*=""")


class Settings:
    """A TOML file.

    Args:
        path: the file.

    Attributes:
        path: the file.
        table: its contents.

    Raises:
        InputError: if it cannot be read or is not TOML.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
            self.table: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path} is not TOML: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        self._lines = _line_numbers(text)

    def build(self, config_class: type[T], table: Mapping[str, Any], section: str = "") -> T:
        """Build a dataclass of a table; a field that is a dataclass itself is built of a nested table.

        Args:
            config_class: the dataclass.
            table: the values of its fields, by name.
            section: the name of the table, with dots if it is nested; "" for the top level.

        Returns:
            An instance of the dataclass.

        Raises:
            InputError: if a key is unknown or missing, or a value does not fit. The message names the line.
        """
        assert is_dataclass(config_class)
        known = {item.name: item for item in fields(config_class)}
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
                raise InputError(f"{self.location(_join(section, key))}: unknown key {key!r}; {hint}")
            values[key] = self._value(known[key].type, value, key, section)
        for name, item in known.items():
            if name not in table and item.default is MISSING and item.default_factory is MISSING:
                where = f"[{section}]" if section else "the top level"
                raise InputError(f"{self.location(section)}: the key {name!r} is missing in {where}")
        try:
            return config_class(**values)
        except FieldError as error:
            paths = [_join(section, name) for name in error.fields]
            raise InputError(f"{self.location(*paths)}: {error}") from error
        except InputError as error:
            raise InputError(f"{self.location(section)}: {error}") from error

    def _value(self, annotation: Any, value: Any, key: str, section: str) -> Any:
        """Check a value, and build the dataclass if it is a nested table."""
        path = _join(section, key)
        options = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
        nested = next((option for option in options if is_dataclass(option)), None)
        if nested is not None and not is_dataclass(value):
            if not isinstance(value, dict):
                raise InputError(f"{self.location(path)}: {key} must be a table: write [{path}]")
            return self.build(nested, value, path)  # type: ignore[arg-type]  # a class
        if problem := type_problem(key, value, annotation):
            raise InputError(f"{self.location(path)}: {problem}")
        return tuple(value) if isinstance(value, list) else value

    def location(self, *paths: str) -> str:
        """Return the file and the lines of keys, for a message.

        Args:
            *paths: the keys with their tables, such as "augmentation.min_scale", or the tables. Those that the file
                does not have are left out; if it has none of them, their tables are named instead.

        Returns:
            Such as "train.toml, line 3" or "train.toml, lines 3 and 5".
        """
        numbers = sorted({self._lines[path] for path in paths if path in self._lines})
        if not numbers:
            tables = [path.rpartition(".")[0] for path in paths]
            return self.location(*tables) if any(tables) else str(self.path)
        lines = " and ".join(map(str, numbers))
        return f"{self.path}, {'line' if len(numbers) == 1 else 'lines'} {lines}"


def _join(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _line_numbers(text: str) -> dict[str, int]:
    """Return the number of the line, from 1, in which each key and each table stands."""
    numbers: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := HEADER.match(line):
            section = path = re.sub(r"[\s\"']", "", header[1])
        elif assignment := ASSIGNMENT.match(line):
            path = _join(section, re.sub(r"[\s\"']", "", assignment[1]))
        else:
            continue
        numbers.setdefault(path, number)
    return numbers

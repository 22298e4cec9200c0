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
from lucid_mlx.utils.files import read_json, read_text
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.utils.validation import FieldError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

HEADER = re.compile(r"""\s*\[([\w\s."'-]+)\]""")
ASSIGNMENT = re.compile(r"""([\w\s."'-]+)=""")

MAX_BYTES = 128 << 10
MAX_DOTS = 1000  # of keys in one line; the parser's time for a key grows with the square of its parts
MAX_DEPTH = 8  # tables in tables


class Settings:
    """A TOML file, or the JSON file that a run keeps in its folder.

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
        self.table: dict[str, Any] = {}
        self._lines: dict[str, int] = {}
        if path.suffix == ".json":  # as a run keeps it in its folder
            self.table = read_json(path, "settings of training", MAX_BYTES)
        else:
            self._read_toml(path)
        if _is_deeper(self.table, MAX_DEPTH):
            raise InputError(f"{path} nests too deeply; expected at most {MAX_DEPTH} tables or lists in one another")

    def _read_toml(self, path: Path) -> None:
        text = read_text(path, "a TOML file", MAX_BYTES)
        if sum(line.count(".") ** 2 for line in text.split("\n")) > MAX_DOTS**2:
            raise InputError(f"{path} has keys of very many parts; expected a TOML file with settings of training")
        try:
            self.table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            hint = "; write '...' around a path with backslashes, not \"...\"" if "\\" in text else ""
            raise InputError(f"{path} is not TOML: {printable(str(error))}{hint}") from error
        except ValueError:
            raise InputError(f"{path} is not TOML: it holds a number that is too long") from None
        except RecursionError:
            raise InputError(f"{path} nests too deeply; expected a TOML file") from None
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
                near = difflib.get_close_matches(key[:60], known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
                raise InputError(f"{self.location(_join(section, key))}: unknown key {shown(key)}; {hint}")
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
        """Return the value as a dataclass has it: the dataclass if it is a nested table, a tuple for a list."""
        path = _join(section, key)
        options = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
        nested = next((option for option in options if is_dataclass(option)), None)
        if nested is not None and not is_dataclass(value):
            if not isinstance(value, dict):
                raise InputError(f"{self.location(path)}: {key} must be a table: write [{path}]")
            return self.build(nested, value, path)  # type: ignore[arg-type]  # a class
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


def _is_deeper(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return depth == 0 or any(_is_deeper(x, depth - 1) for x in (value.values() if isinstance(value, dict) else value))


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

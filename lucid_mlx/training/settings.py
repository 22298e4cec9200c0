"""Tables of a TOML file as dataclasses: every key and every type is checked, and what is wrong is told by its line."""

import difflib
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from lucid_mlx.errors import InputError
from lucid_mlx.utils.validation import type_problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Made = TypeVar("Made")


class Settings:
    """A TOML file.

    Args:
        path: of the file.

    Raises:
        InputError: if it cannot be read, or is no TOML; that tells the line.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._lines = path.read_text(encoding="utf-8").splitlines()
            self.table: dict[str, Any] = tomllib.loads("\n".join(self._lines))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path} is no TOML: {error}") from error

    def make(self, kind: type[Made], table: Mapping[str, Any], section: str = "") -> Made:
        """Make a dataclass of a table, and of the tables in it those that its fields are.

        Raises:
            InputError: for a key that is unknown or missing, or a value that does not fit; it tells the line.
        """
        assert is_dataclass(kind)
        known = {item.name: item for item in fields(kind)}
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
                raise InputError(f"{self.where(key, section)}: there is no setting {key!r}; {hint}")
            values[key] = self._value(known[key].type, value, key, section)
        for name, item in known.items():
            if name not in table and item.default is MISSING and item.default_factory is MISSING:
                place = f"[{section}]" if section else "the beginning"
                raise InputError(f"{self.path}: the setting {name!r} is missing; it belongs to {place}")
        try:
            return kind(**values)
        except InputError as error:
            key = next((word for word in re.findall(r"\w+", str(error)) if word in table), "")
            raise InputError(f"{self.where(key, section)}: {error}") from error

    def _value(self, kind: Any, value: Any, key: str, section: str) -> Any:
        options = get_args(kind) if get_origin(kind) is UnionType else (kind,)
        table = next((option for option in options if is_dataclass(option)), None)
        if table is not None and not is_dataclass(value):
            name = f"{section}.{key}".lstrip(".")
            if not isinstance(value, dict):
                raise InputError(f"{self.where(key, section)}: {key} must be a table: write it as [{name}]")
            return self.make(table, value, name)  # type: ignore[arg-type]  # a class
        if problem := type_problem(key, value, kind):
            raise InputError(f"{self.where(key, section)}: {problem}")
        return tuple(value) if isinstance(value, list) else value

    def where(self, key: str, section: str) -> str:
        """Return the file and the line of a key, as far as it can be found."""
        current = ""
        first: int | None = None
        for number, line in enumerate(self._lines, 1):
            if header := re.match(r"\s*\[\s*([\w.]+)\s*\]", line):
                current = header[1]
                if current == f"{section}.{key}".lstrip("."):
                    return f"{self.path}, line {number}"
                if current == section:
                    first = number
            elif current == section and re.match(rf"\s*{re.escape(key)}\s*=", line):
                return f"{self.path}, line {number}"
        return str(self.path) if first is None else f"{self.path}, line {first}"

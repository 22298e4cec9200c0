"""Read settings from a YAML file and its base files, by the rules of detectron2."""

import warnings
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from lucid_mlx.errors import InputError


class YamlSettings:
    """Settings of a file, otherwise of its base files, otherwise of the defaults; each is a tree of sections.

    Args:
        path: the file. Its setting `_BASE_` is the path of its base file from its own folder; that may have one too.
        defaults: a value for every setting that is read.

    Raises:
        InputError: if a file is missing, is not YAML, or is its own base.
    """

    def __init__(self, path: str | PathLike[str], defaults: Mapping[str, Any]):
        self._path, self._defaults = Path(path).expanduser(), defaults
        self._files = _read_with_bases(self._path)

    def is_set(self, name: str) -> bool:
        """Return whether a file has a setting, such as "MODEL.SWIN.DEPTHS"."""
        return bool(self._find(name, self._files))

    def get(self, name: str, expected: str = "", check: Callable[[Any], bool] = lambda value: True) -> Any:
        """Return the value of a setting.

        Args:
            name: sections and setting, such as "MODEL.SWIN.DEPTHS".
            expected: describes the values that pass the check, for the error message.
            check: returns whether a value is valid.

        Returns:
            The value, of the type of the default; a list if it is a list or a tuple.

        Raises:
            InputError: if it is not of the default's type, or fails the check.
        """
        default = self._find(name, [self._defaults])[0]
        value = _parse_literal((self._find(name, self._files) or [default])[0])
        if not _has_type_of(value, default) or not check(value):
            raise InputError(f"{self._path}: {name} must be {expected or f'like {default!r}'}, got {_format(value)}")
        return list(value) if isinstance(value, list | tuple) else value

    def get_choice(self, name: str, *choices: Any) -> Any:
        """Return the value of a setting for which this package supports only some values.

        Args:
            name: sections and setting, such as "MODEL.SWIN.DEPTHS".
            *choices: the supported values.

        Returns:
            The value.

        Raises:
            InputError: if it is not one of the choices.
        """
        value = self.get(name)
        if value not in choices:
            default = "" if self.is_set(name) else " by default"
            raise InputError(
                f"{self._path}: {name} is {_format(value)}{default}, which this package does not support; "
                f"expected {' or '.join(map(repr, choices))}"
            )
        return value

    def _find(self, name: str, trees: Sequence[Mapping[Any, Any]]) -> list[Any]:
        """Return the value in the first tree that has the setting, as a list of one; or an empty list."""
        for tree in trees:
            value: Any = tree
            for key in name.split("."):
                if not isinstance(value, Mapping):
                    raise InputError(f"{self._path}: expected a section that holds {name}, got {_format(value)}")
                if key not in value:
                    break
                value = value[key]
            else:
                return [value]
        return []


def _has_type_of(value: Any, default: Any) -> bool:
    """Return whether a value has the default's type; an int is accepted for a float, anything for None."""
    if isinstance(default, list):
        return isinstance(value, list | tuple) and all(_has_type_of(item, default[0]) for item in value if default)
    if default is None:
        return True
    if isinstance(default, bool | str):
        return type(value) is type(default)
    types = int if isinstance(default, int) else int | float
    return isinstance(value, types) and not isinstance(value, bool) and abs(value) < 2**31  # False for NaN


def _parse_literal(value: Any) -> Any:
    """Parse a string that is a Python literal, such as a tuple, as detectron2 does."""
    if not isinstance(value, str):
        return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escape sequences
        try:
            return literal_eval(value)
        except Exception:  # an ordinary string
            return value


def _format(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python refuses to print an int of so many digits
        return "a number of thousands of digits"


@dataclass(frozen=True)
class _PythonTag:
    """Replaces the Python object that a YAML tag would construct."""

    tag: str

    def __repr__(self) -> str:
        return f"{self.tag}, which is never run"


class _Loader(yaml.SafeLoader):
    """The safe loader, which also accepts the Python tags of the project's own files (sizes for training).

    The code of a tag is not run. Its value is invalid for every setting.
    """


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, name, node: _PythonTag(f"!!python/{name}"))


def _read_with_bases(path: Path) -> list[Mapping[Any, Any]]:
    """Read a file, its base file, the base file of that and so on."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a YAML file")
    trees, seen = [_read(path)], {path.resolve()}
    while (base := trees[-1].get("_BASE_")) is not None:
        path = _find_base(path, base)
        if path.resolve() in seen:
            raise InputError(f"{path} is based on itself, through its _BASE_")
        trees.append(_read(path))
        seen.add(path.resolve())
    return trees


def _find_base(path: Path, base: Any) -> Path:
    """Return the path of a file's base file."""
    if not isinstance(base, str) or "://" in base:
        raise InputError(f"{path}: _BASE_ must be the path of a YAML file, got {_format(base)}")
    try:
        found = path.parent / Path(base).expanduser()
        if found.is_file():
            return found
    except (OSError, RuntimeError, ValueError):  # not a valid path, or the home of an unknown user
        pass
    raise InputError(f"{path} is based on {base!r:.200}, which does not exist; keep the files in the project's folders")


def _read(path: Path) -> Mapping[Any, Any]:
    try:
        tree = yaml.load(path.read_bytes(), _Loader)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # a wrong date or number in YAML can raise nearly everything
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, Mapping):
        raise InputError(f"{path} holds {_format(tree)}, expected the sections of a configuration")
    return tree

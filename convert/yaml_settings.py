"""Settings from a YAML file and those that it is based on, by the rules of detectron2."""

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
    """What a file says, else those it is based on, else the defaults; each is a tree of sections.

    Args:
        path: the file. Its `_BASE_` is a path from its own folder, and may have one in turn.
        defaults: a value for every setting that will be asked for.

    Raises:
        InputError: if a file is missing, no YAML, or based on itself.
    """

    def __init__(self, path: str | PathLike[str], defaults: Mapping[str, Any]):
        self._path, self._defaults = Path(path).expanduser(), defaults
        self._files = _read_chain(self._path)

    def says(self, name: str) -> bool:
        """Whether a file says it."""
        return bool(self._find(name, self._files))

    def get(self, name: str, wanted: str = "", check: Callable[[Any], bool] = lambda value: True) -> Any:
        """Return the value of a setting, such as "MODEL.SWIN.DEPTHS".

        Raises:
            InputError: if it is not of the default's type, or fails the check, in which case it is told what is wanted.
        """
        default = self._find(name, [self._defaults])[0]
        value = _literal((self._find(name, self._files) or [default])[0])
        if not _fits(value, default) or not check(value):
            raise InputError(f"{self._path}: {name} must be {wanted or f'like {default!r}'}, got {_show(value)}")
        return list(value) if isinstance(value, list | tuple) else value

    def one_of(self, name: str, *options: Any) -> Any:
        """Return the value of a setting that cannot be anything else.

        Raises:
            InputError: if it is.
        """
        value = self.get(name)
        if value not in options:
            default = "" if self.says(name) else " by default"
            raise InputError(
                f"{self._path}: {name} is {_show(value)}{default}, which is no network of this package; "
                f"expected {' or '.join(map(repr, options))}"
            )
        return value

    def _find(self, name: str, trees: Sequence[Mapping[Any, Any]]) -> list[Any]:
        """Return the first value of a setting, in a list, or an empty list."""
        for tree in trees:
            value: Any = tree
            for key in name.split("."):
                if not isinstance(value, Mapping):
                    raise InputError(f"{self._path}: expected a section that holds {name}, got {_show(value)}")
                if key not in value:
                    break
                value = value[key]
            else:
                return [value]
        return []


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of the default's type; a whole number is a number too, None stands for any type."""
    if isinstance(default, list):
        return isinstance(value, list | tuple) and all(_fits(item, default[0]) for item in value if default)
    if default is None:
        return True
    if isinstance(default, bool | str):
        return type(value) is type(default)
    kinds = int if isinstance(default, int) else int | float
    return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < 2**31  # which no NaN is


def _literal(value: Any) -> Any:
    """Read a string that is Python's way to write a value, such as a tuple, as detectron2 does."""
    if not isinstance(value, str):
        return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes
        try:
            return literal_eval(value)
        except Exception:  # it is just a string
            return value


def _show(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python does not write out such numbers
        return "a number of thousands of digits"


@dataclass(frozen=True)
class _Unbuilt:
    """Stands for a Python object that a file asks for."""

    tag: str

    def __repr__(self) -> str:
        return f"{self.tag}, which is never run"


class _Loader(yaml.SafeLoader):
    """The safe loader, which also reads the project's own files: they compute the sizes of training in Python.

    The call is not run. It stands for nothing, and is refused where its value would be used.
    """


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, name, node: _Unbuilt(f"!!python/{name}"))


def _read_chain(path: Path) -> list[Mapping[Any, Any]]:
    """Read a file and those that it is based on, itself first."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a YAML file")
    trees, seen = [_read(path)], {path.resolve()}
    while (base := trees[-1].get("_BASE_")) is not None:
        path = _base(path, base)
        if path.resolve() in seen:
            raise InputError(f"{path} is based on itself, through its _BASE_")
        trees.append(_read(path))
        seen.add(path.resolve())
    return trees


def _base(path: Path, base: Any) -> Path:
    """Find the file that another is based on."""
    if not isinstance(base, str) or "://" in base:
        raise InputError(f"{path}: _BASE_ must be the path of a YAML file, got {_show(base)}")
    try:
        found = path.parent / Path(base).expanduser()
        if found.is_file():
            return found
    except (OSError, RuntimeError, ValueError):  # what is no path at all, or the home of nobody
        pass
    raise InputError(f"{path} is based on {base!r:.200}, which is not there; keep the files in the project's folders")


def _read(path: Path) -> Mapping[Any, Any]:
    try:
        tree = yaml.load(path.read_bytes(), _Loader)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # a wrong date or number in YAML can raise nearly everything
        raise InputError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, Mapping):
        raise InputError(f"{path} holds {_show(tree)}, expected the sections of a configuration")
    return tree

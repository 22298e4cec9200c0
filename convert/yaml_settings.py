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
from lucid_mlx.utils.files import is_file, local_path, read_text
from lucid_mlx.utils.text import shown

MAX_BYTES = 48 << 10
MAX_NODES = 100_000  # of a file whose aliases are written out
MAX_DEPTH = 50  # of brackets
MAX_FILES = 10  # a file and its base files
MAX_LITERAL = 4000  # characters of a Python literal


class YamlSettings:
    """Settings of a file, otherwise of its base files, otherwise of the defaults; each is a tree of sections.

    Args:
        path: the file. Its setting `_BASE_` is the path of its base file from its own folder; that may have one too.
        defaults: a value for every setting that is read.

    Raises:
        InputError: if a file is missing, is not YAML, is too large, or is its own base.
    """

    def __init__(self, path: str | PathLike[str], defaults: Mapping[str, Any]):
        self._path, self._defaults = local_path(path), defaults
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
            raise InputError(f"{self._path}: {name} must be {expected or f'like {default!r}'}, got {shown(value, 80)}")
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
                f"{self._path}: {name} is {shown(value, 80)}{default}, which this package does not support; "
                f"expected {' or '.join(map(repr, choices))}"
            )
        return value

    def _find(self, name: str, trees: Sequence[Mapping[Any, Any]]) -> list[Any]:
        """Return the value in the first tree that has the setting, as a list of one; or an empty list."""
        for tree in trees:
            value: Any = tree
            for key in name.split("."):
                if not isinstance(value, Mapping):
                    raise InputError(f"{self._path}: expected a section that holds {name}, got {shown(value, 80)}")
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
    if not isinstance(value, str) or len(value) > MAX_LITERAL:
        return value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escape sequences
        try:
            return literal_eval(value)
        except Exception:  # an ordinary string
            return value


@dataclass(frozen=True)
class PythonTag:
    """Replaces the Python object that a YAML tag would construct."""

    tag: str

    def __repr__(self) -> str:
        return f"{self.tag}, which is never run"


class _Loader(yaml.SafeLoader):
    """The safe loader, which also accepts the Python tags of the project's own files (sizes for training).

    The code of a tag is not run. Its value is invalid for every setting.
    """

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        """Begin a list or a mapping in brackets; the time of the base class grows with the square of their number."""
        if self.flow_level >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="it nests too deeply", problem_mark=self.get_mark())
        super().fetch_flow_collection_start(TokenClass)


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, name, node: PythonTag(f"!!python/{name}"))


def _read_with_bases(path: Path) -> list[Mapping[Any, Any]]:
    """Read a file, its base file, the base file of that and so on."""
    trees, seen = [_read(path)], {path.resolve()}
    while (base := trees[-1].get("_BASE_")) is not None:
        path = _find_base(path, base)
        if path.resolve() in seen:
            raise InputError(f"{path} is based on itself, through its _BASE_")
        if len(trees) == MAX_FILES:
            raise InputError(f"{path} is the last of {MAX_FILES} base files, and has one too; expected fewer")
        trees.append(_read(path))
        seen.add(path.resolve())
    return trees


def _find_base(path: Path, base: Any) -> Path:
    """Return the path of a file's base file."""
    is_path = isinstance(base, str) and base.isprintable() and "://" not in base and not base.startswith(("/", "~"))
    if not is_path or not base.endswith((".yaml", ".yml")):
        raise InputError(
            f"{path}: _BASE_ must be the path of a YAML file (.yaml, .yml) from the folder of this one, got "
            f"{shown(base, 80)}"
        )
    found = path.parent / base
    if not is_file(found):
        raise InputError(
            f"{path} is based on {shown(base, 80)}, which does not exist; keep the files in the project's folders"
        )
    return found


def _read(path: Path) -> Mapping[Any, Any]:
    """Read a file. No message shows what it holds: it may be another file than a configuration."""
    loader: _Loader | None = None
    try:
        loader = _Loader(read_text(path, "a YAML file", MAX_BYTES))
        node = loader.get_single_node()
        if node is not None and _size(node, {}) > MAX_NODES:
            raise InputError(f"{path} has more than {MAX_NODES} values, its aliases (*) written out; expected fewer")
        tree = None if node is None else loader.construct_document(node)
    except InputError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = (error.problem or "").partition("'")[0].strip()
        raise InputError(f"{path} is not valid YAML: {problem}{where}") from None
    except RecursionError:
        raise InputError(f"{path} is not valid YAML: it nests too deeply") from None
    except Exception:  # a wrong character, date or number can raise nearly everything
        raise InputError(f"{path} is not valid YAML: it holds a character, date or number that cannot be") from None
    if not isinstance(tree, Mapping):
        kind = "nothing" if tree is None else f"a {type(tree).__name__}"
        raise InputError(f"{path} holds {kind}, expected the sections of a configuration")
    return tree


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Count the nodes of a tree whose aliases are written out; a node within itself counts as too many."""
    if id(node) not in sizes:
        sizes[id(node)] = MAX_NODES  # while its own nodes are counted
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [x for pair in node.value for x in pair]
        sizes[id(node)] = 1 + sum(_size(child, sizes) for child in children)
    return sizes[id(node)]

"""Make docs/training-reference.md of the dataclasses: python docs/training_reference.py > docs/training-reference.md"""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from lucid_mlx.models import Mask2FormerConfig
from lucid_mlx.models.vision.backbones.resnet import ResNetConfig
from lucid_mlx.models.vision.backbones.swin import SwinConfig
from lucid_mlx.training.config import AUGMENTATIONS, TrainingConfig

HEAD = """\
# Training configuration: every key

`lucid-mlx train` reads a TOML file. These are all the tables and keys that it may have. A key that must be there is
marked **required**; any other may be left out and then has its default. An unknown key, or a value that does not fit,
is an error that names the line. The [guide](training.md) shows how to use them. TOML has no None: where a description
speaks of None, it means a key that is left out.

<!-- This page is what `python docs/training_reference.py` prints; change the docstrings, not the page. -->
"""
TYPES = {str: "string", int: "integer", float: "float", bool: "boolean", Any: "any"}
FIELDS = "These replace those of the weights, or the defaults if there are no weights."
BACKBONES = {"swin": SwinConfig, "resnet": ResNetConfig}
FROM_ELSEWHERE = ("num_labels", "backbone_config")  # from the dataset; a table of its own


def main() -> None:
    """Print the page."""
    print(HEAD)
    print("\n\n".join(sections()))


def sections() -> Iterator[str]:
    """Make the sections: the top level, its tables in their order, and the network's fields."""
    yield section("The top level", TrainingConfig, [item for item in fields(TrainingConfig) if not tables_of(item)])
    texts = descriptions(TrainingConfig)
    described: dict[type, str] = {}
    for item in fields(TrainingConfig):
        config_types, text = tables_of(item), sentence(texts.get(item.name, ""))
        if len(config_types) == 1 and config_types[0] in described:
            yield f"## `[{item.name}]`\n\n{text}\n\nThe keys are those of `[{described[config_types[0]]}]`."
        elif len(config_types) == 1:
            described[config_types[0]] = item.name
            note = "" if text.startswith("See ") else text
            note = f"**Required.** {note}" if is_required(item) else note
            yield section(f"`[{item.name}]`", config_types[0], note=note)
        elif config_types:  # a table with one of several sets of keys
            chooser, first = first_name(text), next(iter(AUGMENTATIONS))
            yield f'## `[{item.name}]`\n\n{text} If `{chooser}` is left out it is `"{first}"`.'
            for name, config_type in AUGMENTATIONS.items():
                yield section(f'`[{item.name}]` with `{chooser} = "{name}"`', config_type, level=3)
    yield from network_fields()


def network_fields() -> Iterator[str]:
    """Make the sections of the one table without fixed keys: fields of the network and of its backbone."""
    (table,) = (
        f"{item.name}.{free.name}"
        for item in fields(TrainingConfig)
        for config_type in tables_of(item)
        for free in fields(config_type)
        if get_origin(free.type) is dict
    )
    shown = [item for item in fields(Mask2FormerConfig) if item.name not in FROM_ELSEWHERE]
    yield section(f"`[{table}]`", Mask2FormerConfig, shown, note=FIELDS)
    yield f"## `[{table}.backbone_config]`\n\nThe shape of the backbone; `model_type` chooses which."
    for name, config_type in BACKBONES.items():
        shown = [item for item in fields(config_type) if item.name != "num_channels"]
        yield section(f'`[{table}.backbone_config]` with `model_type = "{name}"`', config_type, shown, level=3)


def section(
    title: str, config_type: type, shown: Sequence[Field[Any]] | None = None, *, note: str = "", level: int = 2
) -> str:
    """Make a heading, what the class is in its own words, and a table of its keys."""
    texts = descriptions(config_type)
    rows = [
        f"| `{item.name}` | {type_name(item.type)} | {default(item)} | {cell(texts.get(item.name, ''))} |"
        for item in (fields(config_type) if shown is None else shown)
    ]
    words = f"{summary(config_type)}\n\n{note}".strip()
    return "\n".join([f"{'#' * level} {title}\n\n{words}\n", "| key | type | default | |", "|---|---|---|---|", *rows])


def tables_of(item: Field[Any]) -> list[type]:
    """Return the dataclasses that a field may hold: such a field is a table of the file."""
    options = get_args(item.type) if get_origin(item.type) is UnionType else (item.type,)
    return [option for option in options if is_dataclass(option)]


def is_required(item: Field[Any]) -> bool:
    """Return whether the file must have a field."""
    return item.default is MISSING and item.default_factory is MISSING


def summary(config_type: type) -> str:
    """Return a class's docstring up to its sections, one line a paragraph."""
    text = re.split(r"\n\n(?=\w+:\n)", inspect.getdoc(config_type) or "")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def descriptions(config_type: type) -> dict[str, str]:
    """Return what a class's docstring says of each field, under `Attributes:` or `Args:`."""
    found: dict[str, str] = {}
    for body in re.findall(r"^(?:Attributes|Args):\n((?:    .*\n?|\n)+)", inspect.getdoc(config_type) or "", re.M):
        for names, text in re.findall(r"^    ([\w, ]+):((?: .*|\n     .*|\n(?=\n     ))*)", body, re.M):
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def first_name(text: str) -> str:
    """Return the first name in backticks of a description: the key that chooses between several sets of keys."""
    match = re.search(r"`(\w+)`", text)
    assert match is not None, f"no key in backticks: {text}"
    return match[1]


def type_name(annotation: Any) -> str:
    """Return what TOML calls a type."""
    if get_origin(annotation) is UnionType:
        return " or ".join(type_name(option) for option in get_args(annotation) if option is not type(None))
    if get_origin(annotation) is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(annotation))
    if get_origin(annotation) is dict:
        return "table"
    if get_args(annotation):  # tuple, list, Sequence
        items = [option for option in get_args(annotation) if option is not ...]
        count = f"{len(items)} " if len(items) > 1 else ""
        return f"array of {count}{type_name(items[0])}s"
    return TYPES[annotation]


def default(item: Field[Any]) -> str:
    """Return a default as TOML writes it."""
    if is_required(item):
        # The file's name serves as the name of the data; `read_config` sees to that.
        return "the file's name" if item.name == "dataset_name" else "**required**"
    value = item.default if item.default_factory is MISSING else item.default_factory()
    return "none" if value is None or value == {} else f"`{toml(value)}`"


def toml(value: Any) -> str:
    """Write a value as TOML does."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return str(value)


def sentence(text: str) -> str:
    """Begin with a capital, end with a period."""
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", ".)")) or not text else ".")


def cell(text: str) -> str:
    """Make a text fit into a table."""
    return sentence(text).replace("|", "\\|")


if __name__ == "__main__":
    main()

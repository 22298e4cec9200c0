"""Read the names of the classes of label maps, and how classes are merged."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from lucid_mlx.data.color_table import Color, parse_color_table
from lucid_mlx.datasets import DATASETS, dataset_classes
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path, read_json, read_text
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import whole_numbers

ClassNames = Sequence[str] | Mapping[str, Color]


def read_class_names(class_names: str | PathLike[str] | ClassNames) -> ClassNames:
    """Read the names of classes.

    Args:
        class_names: the names, also by label, or with their colors; a dataset of `lucid_mlx.datasets.DATASETS`; a text
            file with one name in each line; a JSON file with the name of each label, such as
            `{"0": "sky", "1": "sea"}`; a CSV file with a head line and two columns, labels and names; or a table of
            colors, such as CVAT's labelmap.txt.

    Returns:
        The names by label; of a table of colors, the colors by name.

    Raises:
        InputError: if the file cannot be read, names nothing, or lacks a label.
    """
    if isinstance(class_names, Mapping) and any(isinstance(name, str) for name in class_names.values()):
        return _by_label({str(label): name for label, name in class_names.items()}, "class_names")
    if isinstance(class_names, Mapping):
        for name, color in class_names.items():
            if not isinstance(name, str) or len(whole_numbers(f"the color of {shown(name)}", color, most=255)) != 3:
                raise InputError(
                    f"class_names must have names with their colors, red, green and blue: got {shown(name)}"
                )
    if not isinstance(class_names, str | PathLike):
        return class_names
    if class_names in DATASETS:
        return [entry.name for entry in dataset_classes(str(class_names))]
    path = local_path(class_names, "names")
    if path.suffix.lower() == ".json":
        return _by_label(read_json(path, "the name of the class of each label"), str(path))
    text = read_text(path, f"a text file with one class name in each line, or a dataset: {', '.join(DATASETS)}")
    if colors := parse_color_table(text, path):
        return colors
    if path.suffix.lower() == ".csv":  # such as Roboflow's: "Pixel Value, Class"
        rows = [row for row in csv.reader(text.splitlines()) if row]
        return _by_label({row[0].strip(): row[1].strip() for row in rows[1:] if len(row) == 2}, str(path))
    lines = [line.strip() for line in text.rstrip().splitlines()]
    names = [line for line in lines if line]
    if not names:
        raise InputError(f"{path} is empty; expected one class name in each line")
    if "" in lines:
        blank = lines.index("")
        label = sum(map(bool, lines[:blank]))
        warnings.warn(
            f"{path}: line {blank + 1} is blank, and is no label: the next name, {shown(names[label])}, is label "
            f"{label}",
            stacklevel=3,
        )
    return names


def _by_label(names: Mapping[str, Any], path: str) -> list[str]:
    found = [names.get(str(label)) for label in range(len(names))]
    if not found or any(type(name) is not str for name in found):
        example = "lines such as 0,sky" if path.lower().endswith(".csv") else '{"0": "sky", "1": "sea"}'
        raise InputError(f"{path} must hold the name of each label from 0 on: {example}")
    return [str(name) for name in found]


def read_merge(path: str | PathLike[str]) -> dict[str, Sequence[str]]:
    """Read how classes are merged.

    Args:
        path: a JSON file with new classes, each with the names of those that it is made of, such as
            `{"bag": ["bag", "purse"], "shoes": ["boots", "flats"]}`.

    Returns:
        The new classes.

    Raises:
        InputError: if the file cannot be read, or holds something else.
    """
    file = local_path(path, "merge")
    merge = read_json(file, "new classes with the names of those that each is made of")
    for name, parts in merge.items():
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise InputError(
                f"{file} has {shown(parts)} for the class {shown(name)}; expected a list of names of classes"
            )
    return merge

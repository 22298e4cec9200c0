"""Choose the class names of checkpoints."""

import json
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from lucid_mlx.datasets import DATASETS, dataset_classes
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import is_file, local_path, read_text
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value


def with_names(config: dict[str, Any]) -> dict[str, Any]:
    """Return a Hugging Face configuration with `id2label`, if it has the names of the classes in `label2id` alone."""
    numbers = config.get("label2id")
    if config.get("id2label") or not isinstance(numbers, Mapping):
        return config
    return {**config, "id2label": {str(number): name for name, number in numbers.items()}}


def has_names(config: Mapping[str, Any], dataset: str | None) -> bool:
    """Return whether a Hugging Face configuration names the classes.

    Args:
        config: the contents of `config.json`.
        dataset: that the network was trained on, if it is known. Then LABEL_0 and so on are no names: published
            checkpoints for videos have them.

    Returns:
        False without `id2label`, or if a better source of names is known.
    """
    names = config.get("id2label")
    if dataset is None or not isinstance(names, Mapping):
        return bool(names)
    return any(name != f"LABEL_{number}" for number, name in names.items())


def fit_to_head(config: Mapping[str, Any], num_labels: int, named: bool) -> dict[str, Any]:
    """Make a Hugging Face configuration agree with the head of its weights about the classes; the head counts.

    Args:
        config: the contents of `config.json`.
        num_labels: classes of the head.
        named: whether the user names the classes, so that those of the configuration do not matter.

    Returns:
        The configuration with that number of classes.

    Raises:
        InputError: if it names another number of classes.
    """
    names, stated = config.get("id2label"), config.get("num_labels", num_labels)
    fitted = {key: value for key, value in config.items() if key != "id2label" or not named} | {
        "num_labels": num_labels
    }
    if named:
        return fitted
    if isinstance(names, Mapping | list) and len(names) != num_labels:
        fitting = _fitting(num_labels)
        raise InputError(
            f"the configuration names {len(names)} classes in id2label, and the head of the weights has {num_labels}: "
            "name them with lucid-mlx convert --class-names (in Python convert(..., labels=)): a file with a name on "
            f"each line{fitting}"
        )
    if stated != num_labels:
        warnings.warn(
            f"the configuration says num_labels {shown(stated)}, and the head of the weights has {num_labels} classes, "
            "which counts",
            stacklevel=4,
        )
    inverse = config.get("label2id")
    if isinstance(names, Mapping) and isinstance(inverse, Mapping):
        other = [name for number, name in names.items() if str(inverse.get(str(name), number)) != str(number)]
        if other:
            warnings.warn(
                f"label2id contradicts id2label for {len(other)} classes, such as {shown(other[0])}; id2label counts",
                stacklevel=4,
            )
    return fitted


def _fitting(num_labels: int) -> str:
    """Return the datasets that have so many classes, for a message."""
    fitting = [name for name in DATASETS if len(dataset_classes(name)) == num_labels]
    return f", or a dataset such as {' or '.join(fitting)}" if fitting else ""


def choose_labels(
    num_labels: int,
    labels: str | PathLike[str] | Sequence[str] | None,
    stored: Sequence[str],
    dataset: str | None,
) -> tuple[list[str], str | None]:
    """Choose class names: the user's, otherwise those stored with the weights, otherwise those of the dataset.

    The number of classes alone does not identify a dataset: not every network with eight classes was trained on
    Cityscapes.

    Args:
        num_labels: number of classes of the network.
        labels: the user's choice: a dataset, a file, or the names; None if there is none.
        stored: names that are stored with the weights; empty if there are none.
        dataset: that the network was trained on; None if it is not known.

    Returns:
        The names. If none of the three has names for this number of classes, they are LABEL_0 and so on, and the second
        value is a note for the user; otherwise that is None.

    Raises:
        InputError: if there is no such dataset or file, or it has another number of names.
    """
    if labels is not None:
        names = _read_labels(labels)
        if len(names) != num_labels:
            raise InputError(
                f"{_where(labels)} names {len(names)} classes, and the network has {num_labels}, without "
                f"background: name as many{_fitting(num_labels)}"
            )
        return names, None
    if len(stored) == num_labels:
        return list(stored), None
    if dataset is not None and len(classes := dataset_classes(dataset)) == num_labels:
        return [entry.name for entry in classes], None
    note = (
        f"the source does not name its {num_labels} classes: name them with --class-names (in Python labels=), a file "
        f"with a name on each line{_fitting(num_labels)}"
    )
    return [f"LABEL_{class_id}" for class_id in range(num_labels)], note


def _where(labels: str | PathLike[str] | Sequence[str]) -> str:
    return shown(str(labels), 200) if isinstance(labels, str | PathLike) else "the list of labels"


def _read_labels(labels: str | PathLike[str] | Sequence[str]) -> list[str]:
    if not isinstance(labels, str | PathLike):
        check_value("labels", labels, list[str])
        return list(labels)
    if labels in DATASETS:
        return [entry.name for entry in dataset_classes(str(labels))]
    path = local_path(labels, "labels")
    if not is_file(path):
        raise InputError(
            f"labels {shown(str(path), 200)}: there is no such file, with a name on each line, nor such a dataset; the "
            f"datasets are {', '.join(DATASETS)}"
        )
    text = read_text(path, "names of classes")
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml", ".xml") or (suffix == ".csv" and "," in text):
        raise InputError(f"{path} is no list of names; write a text file with a name on each line, or JSON")
    try:
        parsed = json.loads(text)
    except RecursionError:
        raise InputError(f"{path} nests too deeply; expected names of classes") from None
    except ValueError:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(parsed, dict) and isinstance(categories := parsed.get("categories"), list):  # COCO's
        entries = [entry for entry in categories if isinstance(entry, dict)]
        ordered = sorted(entries, key=lambda entry: str(entry.get("id")).zfill(20))
        parsed = [entry.get("name") for entry in ordered]
    elif isinstance(parsed, dict):
        parsed = parsed.get("id2label", parsed)
        try:
            parsed = [parsed[key] for key in sorted(parsed, key=int)]
        except (TypeError, ValueError):
            raise InputError(f"{path} must map class ids to names") from None
    if not isinstance(parsed, list):
        raise InputError(f"{path} must hold a list of names, one on each line or in JSON")
    check_value(f"{path}: a list of labels", parsed, list[str | int])
    return list(map(str, parsed))

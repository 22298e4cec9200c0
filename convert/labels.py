"""Names for the classes of checkpoints that come without them."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from lucid_mlx.datasets import DATASETS, dataset_classes
from lucid_mlx.errors import InputError


def choose_labels(
    count: int,
    wanted: str | PathLike[str] | Sequence[str] | None,
    stored: Sequence[str],
    dataset: str | None,
) -> tuple[list[str], str | None]:
    """Name the classes: as wanted, else as stored with the weights, else as in the dataset they were trained on.

    A number of classes alone proves no dataset: somebody's own eight classes are not those of Cityscapes.

    Args:
        count: classes of the network.
        wanted: a dataset, a file, or the names.
        stored: names within the source, if any.
        dataset: what the source is known to be trained on.

    Returns:
        The names, and a sentence for the user where they are mere numbers.

    Raises:
        InputError: if there is no such dataset or file, or it names another number of classes.
    """
    if wanted is not None:
        names = _read(wanted)
        if len(names) != count:
            raise InputError(f"the labels name {len(names)} classes; the network has {count}")
        return names, None
    if len(stored) == count:
        return list(stored), None
    if dataset is not None and len(known := dataset_classes(dataset)) == count:
        return [entry.name for entry in known], None
    fitting = [name for name in DATASETS if len(dataset_classes(name)) == count]
    hint = f", such as {' or '.join(fitting)}" if fitting else ""
    note = f"the source does not name its {count} classes: pass labels (--labels), a dataset{hint}, or a file"
    return [f"LABEL_{number}" for number in range(count)], note


def _read(wanted: str | PathLike[str] | Sequence[str]) -> list[str]:
    if not isinstance(wanted, str | PathLike):
        return list(map(str, wanted))
    if wanted in DATASETS:
        return [entry.name for entry in dataset_classes(str(wanted))]
    path = Path(wanted).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise InputError(
            f"labels {str(wanted)!r}: there is no such text file, and no such dataset; known are {', '.join(DATASETS)}"
        ) from None
    try:
        parsed = json.loads(text)
    except ValueError:
        return [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(parsed, dict):
        parsed = parsed.get("id2label", parsed)
        try:
            return [str(parsed[key]) for key in sorted(parsed, key=int)]
        except (TypeError, ValueError):
            raise InputError(f"{path} must map class numbers to names") from None
    if isinstance(parsed, list):
        return list(map(str, parsed))
    raise InputError(f"{path} must hold a list of names, one a line or in JSON")

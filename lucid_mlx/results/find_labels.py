"""From the name of a class to its ids."""

import difflib
from collections.abc import Mapping

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_NAME


def find_label_ids(name: str, labels: Mapping[int, str]) -> list[int]:
    """Find the classes with a name; case does not matter.

    A label such as "sofa, couch" has several names. A class whose whole label is the name is preferred.

    Args:
        name: name of a class.
        labels: names of all classes, by class id.

    Returns:
        The ids of the classes, at least one.

    Raises:
        InputError: if no class has this name; the message suggests similar names.
    """
    if not isinstance(name, str):
        raise InputError(f"a class is selected by its name, got {shown(name, 80)}")
    wanted = name.strip().lower()
    by_label: dict[str, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for label_id, label in labels.items():
        by_label.setdefault(label.lower(), []).append(label_id)
        for synonym in {part.strip() for part in label.lower().split(",")}:
            by_name.setdefault(synonym, []).append(label_id)
    known = by_name | by_label
    if wanted not in known:
        similar = difflib.get_close_matches(wanted[:MAX_NAME], known, n=3, cutoff=0.5)
        if similar:
            hint = f"did you mean {' or '.join(map(repr, similar))}?"
        else:
            hint = f"known are {', '.join(list(labels.values())[:200])}"
        raise InputError(f"there is no class {shown(name)}; {hint}")
    return known[wanted]

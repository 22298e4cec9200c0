"""What was left out or guessed while labels were read: told once for each kind, with a count and examples."""

import warnings
from typing import Any

from lucid_mlx.utils.text import examples, shown

MAX_KEPT = 4  # examples of a kind; three are shown


class Notices:
    """Collects what happened to annotations, images or categories, by kind.

    Args:
        name: the file or the dataset, for the warnings.
    """

    def __init__(self, name: str):
        self._name = name
        self._kinds: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def add(self, noun: str, happened: str, example: Any) -> None:
        """Count something.

        Args:
            noun: what it happened to, such as "annotation".
            happened: such as "left out: no pixel is covered".
            example: the id, or the name.
        """
        count, kept = self._kinds.get((noun, happened), (0, []))
        if len(kept) < MAX_KEPT:
            kept.append(example if isinstance(example, str) else shown(example))
        self._kinds[noun, happened] = (count + 1, kept)

    def lines(self) -> list[str]:
        """Return a line for each kind, such as "2 annotations left out: no pixel is covered (7, 9)"."""
        return [
            f"{count} {noun if count == 1 else _plural(noun)} {happened} ({_shown(kept, count)})"
            for (noun, happened), (count, kept) in self._kinds.items()
        ]

    def warn(self, stacklevel: int = 2) -> None:
        """Give one warning for each kind.

        Args:
            stacklevel: as `warnings.warn` takes it, from the caller on.
        """
        for line in self.lines():
            warnings.warn(f"{self._name}: {line}", stacklevel=stacklevel + 1)


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def _shown(kept: list[str], count: int) -> str:
    return examples([*kept[:3], *[""] * (count - len(kept[:3]))])

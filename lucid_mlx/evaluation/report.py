"""What an evaluation gives: figures, in all and for each class, to read, to keep and to compare."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from lucid_mlx.errors import InputError

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """How good a network is on a dataset.

    Attributes:
        task: "semantic", "instance" or "panoptic".
        images: how many were evaluated.
        figures: in percent, the one that is quoted most first; None where the dataset has nothing to measure it by.
        classes: the figures of each class, by name.
    """

    task: str
    images: int
    figures: Figures
    classes: Mapping[str, Figures]

    def table(self) -> str:
        """Return the figures as a table, first of all classes and then of each."""
        columns = list(dict.fromkeys(name for figures in self.classes.values() for name in figures))
        rows = [["class", *columns]]
        rows += [[name, *(_cell(figures.get(column)) for column in columns)] for name, figures in self.classes.items()]
        whole = [[name, _cell(value)] for name, value in self.figures.items()]
        return f"{_aligned(whole)}\n\n{_aligned(rows)}"

    def compare(self, other: "Evaluation") -> str:
        """Return a table of these figures beside another evaluation's, and by how much these are higher.

        Raises:
            InputError: if the other is of another task.
        """
        other.check_task(self.task)
        first = next(iter(self.figures))
        column = next(iter(next(iter(self.classes.values()), {})), first)
        pairs = [(name, value, other.figures.get(name)) for name, value in self.figures.items()]
        pairs += [
            (f"{column} {name}", figures.get(column), other.classes.get(name, {}).get(column))
            for name, figures in self.classes.items()
        ]
        rows = [["", "this", "other", "change"]]
        for name, mine, theirs in pairs:
            change = "-" if mine is None or theirs is None else f"{mine - theirs:+.2f}"
            rows.append([name, _cell(mine), _cell(theirs), change])
        return _aligned(rows)

    def check_task(self, task: str) -> None:
        """Make sure that an evaluation for a task can be compared with this one.

        Raises:
            InputError: if this one is for another task.
        """
        if task != self.task:
            raise InputError(
                f"figures of {task} segmentation cannot be compared with those of {self.task} segmentation"
            )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, path: str | PathLike[str]) -> "Evaluation":
        """Read a file that has what `to_json` gave.

        Raises:
            InputError: if it cannot be read, or is something else.
        """
        try:
            raw = json.loads(Path(path).read_text(encoding="utf-8"))
            fields = {name: raw[name] for name in cls.__dataclass_fields__}
            for figures in (fields["figures"], *fields["classes"].values()):
                if not all(value is None or isinstance(value, int | float) for value in figures.values()):
                    raise ValueError("a figure is no number")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not what an evaluation wrote: {error!r}") from error
        return cls(**fields)

    def __str__(self) -> str:
        return ", ".join(f"{name} {_cell(value)}" for name, value in self.figures.items())


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)

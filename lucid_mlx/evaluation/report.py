"""The result of an evaluation: metrics over all classes and of each, to print, save and compare."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path, read_json
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.utils.validation import check_choice, check_value

Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on a dataset.

    Attributes:
        task: "semantic", "instance" or "panoptic"; "video" for the tracks of videos.
        num_images: how many images, or videos, were evaluated.
        metrics: the metrics over all classes by name, in percent, the main one first; None if the dataset has nothing
            to measure it with.
        per_class: the metrics of each class, by the name of the class.
    """

    task: str
    num_images: int
    metrics: Metrics
    per_class: Mapping[str, Metrics]

    def table(self) -> str:
        """Return the metrics as text: those over all classes, then a table of the classes."""
        columns = list(dict.fromkeys(name for metrics in self.per_class.values() for name in metrics))
        rows = [["class", *columns]]
        rows += [[name, *(_cell(values.get(column)) for column in columns)] for name, values in self.per_class.items()]
        overall = [[name, _cell(value)] for name, value in self.metrics.items()]
        return f"{_align(overall)}\n\n{_align(rows)}"

    def compare(self, other: "Evaluation") -> str:
        """Return a table of the metrics beside those of another evaluation.

        Args:
            other: the other evaluation.

        Returns:
            The table: a row for each metric over all classes, and for the main metric of each class, with both values
            and the change from the other to this one.

        Raises:
            InputError: if the other is of another task.
        """
        check_value("other", other, Evaluation)
        other.check_task(self.task)
        main = next(iter(self.metrics))
        column = next(iter(next(iter(self.per_class.values()), {})), main)
        pairs = [(name, value, other.metrics.get(name)) for name, value in self.metrics.items()]
        pairs += [
            (f"{column} {name}", values.get(column), other.per_class.get(name, {}).get(column))
            for name, values in self.per_class.items()
        ]
        rows = [["", "this", "other", "change"]]
        for name, this_value, other_value in pairs:
            change = "-" if this_value is None or other_value is None else f"{this_value - other_value:+.2f}"
            rows.append([name, _cell(this_value), _cell(other_value), change])
        return _align(rows)

    def check_task(self, task: str) -> None:
        """Check that an evaluation of a task can be compared with this one.

        Args:
            task: the task of the other evaluation.

        Raises:
            InputError: if this one is of another task.
        """
        if task != self.task:
            raise InputError(
                f"metrics of {task} segmentation cannot be compared with those of {self.task} segmentation"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can represent."""
        return asdict(self)

    @classmethod
    def from_json(cls, path: str | PathLike[str]) -> "Evaluation":
        """Read a JSON file of what `to_json` returned.

        Args:
            path: the file.

        Returns:
            The evaluation.

        Raises:
            InputError: if the file cannot be read, or has something else.
        """
        file = local_path(path)
        raw = read_json(file, "the JSON of an evaluation")
        values: dict[str, Any] = {name: raw.get(name) for name in cls.__dataclass_fields__}
        try:
            check_choice("task", values["task"], (*TASKS, "video"))
            check_value("num_images", values["num_images"], int, 0)
            check_value("metrics", values["metrics"], Mapping)
            check_value("per_class", values["per_class"], Mapping)
            for metrics in (values["metrics"], *values["per_class"].values()):
                check_value("the metrics of a class", metrics, Mapping)
                for name, value in metrics.items():
                    check_value(shown(name), value, float | None)
        except InputError as error:
            raise InputError(f"{file} is not the JSON of an evaluation: {error}") from None
        return cls(**values)

    def __str__(self) -> str:
        return printable(", ".join(f"{name} {_cell(value)}" for name, value in self.metrics.items()))


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as lines with aligned columns: the first to the left, the others to the right."""
    rows = [list(map(printable, row)) for row in rows]  # names of classes
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)

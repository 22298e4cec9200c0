"""What a run tells: lines of figures, pictures of what the network finds, curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.errors import InputError
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.atomic_write import draft, write_file, write_picture
from lucid_mlx.visualization import side_by_side


class Metrics:
    """A file of JSON lines, one a step that is told.

    Args:
        path: of the file.
        step: how far the run has come: lines of later steps are of a run that did not end well, and go.
    """

    def __init__(self, path: Path, step: int = 0):
        self.path = path
        kept = [line for line in self.read() if line["step"] <= step] if step else []
        write_file(path, "".join(f"{json.dumps(line)}\n" for line in kept).encode())

    def add(self, step: int, figures: Mapping[str, Any]) -> None:
        """Write a line.

        Raises:
            InputError: if it cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **figures}) + "\n")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error}") from error

    def read(self) -> list[dict[str, Any]]:
        """Return the lines; one that was cut off in the end is left out."""
        lines = []
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines


def write_pictures(folder: Path, step: int, segmenter: Segmenter, dataset: Dataset, count: int) -> None:
    """Draw what the network finds in the first images beside them, into `STEP-NUMBER.png`.

    Raises:
        InputError: if an image cannot be read, or a picture not written.
    """
    folder.mkdir(exist_ok=True)
    for number, record in enumerate(dataset.records[:count]):
        found = segmenter(record.image())
        target = folder / f"{step:07}-{number}.png"
        write_picture(target, side_by_side(found.image, found.draw()))


def plot_curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Plot losses, learning rate and figures of evaluations against steps, a row each.

    Args:
        lines: as `Metrics.read` returns them.
        path: of the picture.

    Raises:
        InputError: if it cannot be written.
    """
    from matplotlib.figure import Figure

    last = "loss", "loss_cross_entropy", "loss_mask", "loss_dice"
    evaluated = sorted({name for line in lines for name in line.get("evaluation", {})})
    rows = {"loss": [(name, [(x["step"], x[name]) for x in lines if name in x]) for name in last]}
    rows["learning rate"] = [("", [(x["step"], x["learning_rate"]) for x in lines if "learning_rate" in x])]
    if evaluated:
        rows["percent"] = [
            (name, [(x["step"], x["evaluation"][name]) for x in lines if x.get("evaluation", {}).get(name) is not None])
            for name in evaluated
        ]
    figure = Figure(figsize=(8, 3 * len(rows)), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(len(rows), 1, sharex=True), rows.items(), strict=True):
        for name, points in curves:
            if points:
                axes.plot(*zip(*points, strict=True), label=name)
        axes.set_ylabel(title)
        if title == "loss":
            axes.set_yscale("log")
        if any(name and points for name, points in curves):
            axes.legend()
    axes.set_xlabel("step")
    with draft(path) as place:
        figure.savefig(place)

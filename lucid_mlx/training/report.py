"""Logs of a run: metrics in JSON lines, pictures of predictions, plots."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.errors import InputError
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import atomic_write, write_file, write_image
from lucid_mlx.visualization import side_by_side

LOSSES = ("loss", "loss_cross_entropy", "loss_mask", "loss_dice")  # those of the last layer, and the sum of all

FEW_POINTS = 40  # of a curve, which are then marked


class MetricsLog:
    """A file of JSON lines: the metrics of each logged step.

    Args:
        path: the file.
        step: the last finished step of the run. Lines of later steps are removed: they are of a run that was killed
            before it saved its state.
        tensorboard: a folder in which TensorBoard finds the metrics too; None for none.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, step: int = 0, tensorboard: Path | None = None):
        self.path, self._writer = path, None
        if tensorboard is not None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(tensorboard), purge_step=step + 1)
        kept = [line for line in self.read() if line["step"] <= step] if step else []
        write_file(path, "".join(f"{json.dumps(line)}\n" for line in kept).encode())

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append a line.

        Args:
            step: the step.
            metrics: its metrics by name, which JSON can represent.

        Raises:
            InputError: if it cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **metrics}) + "\n")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error}") from error
        if self._writer is not None:
            for name, value in {**metrics, **metrics.get("evaluation", {})}.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *args: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def read(self) -> list[dict[str, Any]]:
        """Return the lines, without an incomplete one at the end."""
        lines = []
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        for line in text.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        return lines


def write_predictions(folder: Path, step: int, segmenter: Segmenter, dataset: Dataset, count: int) -> None:
    """Draw the predictions for the first images of a dataset, each beside its image, to `STEP-INDEX.png`.

    Args:
        folder: where to write the pictures; it is created.
        step: the step, for the names of the files.
        segmenter: makes the predictions.
        dataset: the images.
        count: how many of them.

    Raises:
        InputError: if an image cannot be read, or a picture cannot be written.
    """
    folder.mkdir(exist_ok=True)
    for index, record in enumerate(dataset.records[:count]):
        prediction = segmenter(record.image())
        drawn = prediction.draw(title=None if prediction.segments else f"step {step}: nothing found")
        write_image(folder / f"{step:07}-{index}.png", side_by_side(prediction.image, drawn))


def plot_metrics(lines: list[dict[str, Any]], path: Path) -> None:
    """Plot losses, learning rate and evaluation metrics over the steps.

    Args:
        lines: as `MetricsLog.read` returns them.
        path: the file of the plot.

    Raises:
        InputError: if it cannot be written.
    """
    from matplotlib.figure import Figure

    evaluated = sorted({name for line in lines for name in line.get("evaluation", {})})
    plots = {"loss": [(name, [(x["step"], x[name]) for x in lines if name in x]) for name in LOSSES]}
    plots["learning rate"] = [("", [(x["step"], x["learning_rate"]) for x in lines if "learning_rate" in x])]
    if evaluated:
        plots["percent"] = [
            (name, [(x["step"], x["evaluation"][name]) for x in lines if x.get("evaluation", {}).get(name) is not None])
            for name in evaluated
        ]
    figure = Figure(figsize=(10, 3 * len(plots)), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(len(plots), 1, sharex=True), plots.items(), strict=True):
        for name, points in curves:
            if points:
                # A line needs two points, and few are hard to see.
                axes.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) <= FEW_POINTS else None)
        axes.set_ylabel(title)
        if title == "loss":
            axes.set_yscale("log")
        if any(name and points for name, points in curves):
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))  # beside the curves, not over them
    axes.set_xlabel("step")
    with atomic_write(path) as temporary:
        figure.savefig(temporary)

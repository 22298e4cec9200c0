"""What a run tells while it trains: metrics, lines for people, pictures, evaluations; and the best weights."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.training.config import TrainingConfig
from lucid_mlx.training.folder import RunFolder
from lucid_mlx.training.progress import step_line
from lucid_mlx.training.report import MetricsLog, plot_metrics, write_predictions
from lucid_mlx.utils.pace import Pace
from lucid_mlx.utils.parameters import named_parameters


class Monitor:
    """Tells how a run goes, in its main process.

    Args:
        config: of the run.
        folder: its output folder.
        validation: the validation data; None if there is none.
        log: called with each message for the user.
        pace: the speed of the run.
        step: the last finished step.

    Attributes:
        is_past_its_best: whether the last `patience` evaluations were no better than an earlier one.
    """

    def __init__(
        self,
        config: TrainingConfig,
        folder: RunFolder,
        validation: Dataset | None,
        log: Callable[[str], None],
        pace: Pace,
        step: int,
    ):
        self._config, self._folder, self._validation = config, folder, validation
        self._log, self._pace = log, pace
        tensorboard = folder.training / "tensorboard" if config.reports.tensorboard else None
        self._metrics = MetricsLog(folder.metrics, step, tensorboard)
        self._warned = self.is_past_its_best = False

    def __enter__(self) -> "Monitor":
        self._metrics.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._metrics.__exit__(*args)
        if args[0] is None:
            self.plot()

    def plot(self) -> None:
        """Draw the curves of the metrics."""
        plot_metrics(self._metrics.read(), self._folder.training / "curves.png")

    def report(self, step: int, losses: Mapping[str, float], grad_norm: float, *, to_people: bool, last: bool) -> None:
        """Log a step and tell people of it, if it is time.

        Args:
            step: that is finished.
            losses: of the step, by name.
            grad_norm: of its gradient.
            to_people: tell people by lines; otherwise a bar tells them.
            last: whether it is the last step before the run ends or stops.
        """
        every, total = self._config.reports, self._config.steps
        told = to_people and (self._pace.line_is_due() or _is_multiple(step, every.evaluate) or last)
        logged = last or step % every.log == 0
        if not (told or logged):
            return
        optimizer = self._config.optimizer
        values = {
            **losses,
            "grad_norm": grad_norm,
            "learning_rate": optimizer.learning_rate * optimizer.factor(step - 1, total),
            "images_per_second": self._pace.images_per_second(),
            "memory": mx.get_peak_memory(),
        }
        if logged:
            self._metrics.write(step, values)
        if told:
            self._log(step_line(step, total, values, self._pace.time_left()))

    def warn_of_empty_batches(self, empty: int, count: int, last: bool) -> None:
        """Warn once if most batches had no object: there is nothing to learn from them.

        Args:
            empty: batches without an object.
            count: all batches so far.
            last: whether the run ends or stops.
        """
        if not self._warned and 2 * empty > count and (count >= 20 or last):
            self._warned = True
            warnings.warn(
                f"{empty} of {count} batches had no object to learn from; are the annotations of these images, and is "
                "the crop of [augmentation] large enough?",
                stacklevel=5,
            )

    def validation_is_due(self, step: int) -> bool:
        """Return whether it is time to draw predictions or to evaluate.

        Args:
            step: that is finished.

        Returns:
            Whether `validate` has something to do.
        """
        every = self._config.reports
        due = _is_multiple(step, every.pictures) or _is_multiple(step, every.evaluate)
        return self._validation is not None and due

    def validate(self, step: int, segmenter: Segmenter) -> None:
        """Draw predictions and evaluate the model, if it is time, and keep its weights if they are the best.

        Args:
            step: that is finished.
            segmenter: of the model, with the weights to evaluate.
        """
        every, validation = self._config.reports, self._validation
        assert validation is not None
        if _is_multiple(step, every.pictures):
            write_predictions(self._folder.training / "predictions", step, segmenter, validation, every.images)
        if not _is_multiple(step, every.evaluate):
            return
        from lucid_mlx.evaluation import evaluate

        result = evaluate(segmenter, validation, batch_size=self._config.batch_size)
        earlier = [score for line in self._metrics.read() if (score := _score(line)) is not None]
        self._metrics.write(step, {"evaluation": dict(result.metrics)})
        self._log(f"evaluation after step {step}: {result}")
        name, score = next(iter(result.metrics.items()))
        if score is None:
            return
        if score > max(earlier, default=-1.0):
            if every.keep_best:
                self._folder.write_best(named_parameters(segmenter.model))
                self._log(f"the best {name} so far: these weights are kept in {self._folder.best}")
            return
        since = len(earlier) - earlier.index(max(earlier))
        if every.patience and since >= every.patience:
            self.is_past_its_best = True
            kept = f", whose weights are in {self._folder.best}" if every.keep_best else ""
            self._log(f"the last {since} evaluations have no better {name} than {max(earlier):.2f}{kept}")


def _is_multiple(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _score(line: Mapping[str, Any]) -> float | None:
    """Return the main metric of an evaluation; None in other lines."""
    score: float | None = next(iter(line.get("evaluation", {}).values()), None)
    return score

"""The training loop."""

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.optimizers import clip_grad_norm
from mlx.utils import tree_map
from tqdm.auto import tqdm

from lucid_mlx.backends import tune_for_cpu
from lucid_mlx.data.validate import validate
from lucid_mlx.errors import InputError
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.training.config import TrainingConfig
from lucid_mlx.training.folder import RunFolder
from lucid_mlx.training.gradients import loss_and_gradients
from lucid_mlx.training.loader import Batch, Loader
from lucid_mlx.training.optimizer import Average, Optimizer
from lucid_mlx.training.report import Metrics, plot_curves, write_pictures
from lucid_mlx.training.start import build_network, train_mode
from lucid_mlx.training.state import Progress, load_state, save_state
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.parameters import named_parameters

Tell = Callable[[str], None]


class Trainer:
    """A training run: network, data, optimizer, and how far it has come.

    In a distributed run (`mlx.launch`) every process has one; the first writes the files.

    Args:
        config: what to do.
        output: the folder for the model and all that is told of the run.
        resume: go on from the state that is there; else the folder must not exist, or be empty.
        tell: gets what a user should know, in the first process.

    Raises:
        InputError: if data, weights or the folder cannot be used; or a library is missing.
    """

    def __init__(self, config: TrainingConfig, output: Path, resume: bool = False, tell: Tell = lambda text: None):
        tune_for_cpu()
        self.config, self.group = config, mx.distributed.init()
        self.first = self.group.rank() == 0
        self.tell = tell if self.first else lambda text: None
        if self.first:
            require("matplotlib", "train")
            if config.reports.evaluate:
                require("hotcoco", "train")
        dataset = config.train.open()
        self.validation = config.validation.open() if config.validation else None
        if config.check and not resume and self.first:
            validate(dataset, progress=True)
        self.model, self.image_config, notes = build_network(config, dataset)
        for note in notes:
            self.tell(note)
        self.loader = Loader(
            dataset,
            config.augmentation,
            batch_size=config.batch_size,
            image_config=self.image_config,
            seed=config.seed,
            workers=config.workers,
            part=(self.group.rank(), self.group.size()),
        )
        self.optimizer = Optimizer(self.model, config.optimizer, config.steps)
        rate = config.optimizer.average
        self.average = Average(self.model, rate) if rate else None
        self.progress = Progress()
        self.folder = RunFolder(
            output, self.model.config, self.image_config, dataset, config.name, config.network.weights
        )
        if resume:
            self.progress = load_state(self.folder.state, self.model, self.optimizer, self.average)
            self.tell(f"resumed at step {self.progress.step}")
        if self.first and not resume:
            self.folder.start(named_parameters(self.model))
            self.save()

    def fit(self, until: int | None = None) -> bool:
        """Train to the end, or until a step; Ctrl-C saves the state first.

        Returns:
            Whether the end was reached.

        Raises:
            InputError: if the loss or the gradient is not finite, an image cannot be read, or a file not written.
        """
        with self.folder.locked() if self.first else nullcontext():
            return self._fit(until)

    def _fit(self, until: int | None) -> bool:
        config, reports = self.config, self.config.reports
        if self.first:
            for left in self.folder.training.glob(".lucid-mlx-*"):  # of a process that was killed while it wrote
                shutil.rmtree(left, ignore_errors=True)
            metrics = Metrics(self.folder.training / "metrics.jsonl", self.progress.step)
        last = min(config.steps, until or config.steps)
        batches = self.loader.batches(*self.progress[1:])
        bar = tqdm(
            total=config.steps, initial=self.progress.step, unit="step", desc="train",
            disable=None if self.first else True,
        )  # fmt: skip
        start, told = time.perf_counter(), self.progress.step
        with closing(batches), bar, interruptible() as interrupted:
            while self.progress.step < last:
                losses, norm = self.step(batches)
                step = self.progress.step
                bar.update()
                stop = self._any(interrupted())
                if step % reports.log == 0 and self.first:
                    speed = (step - told) * config.accumulate * config.batch_size / (time.perf_counter() - start)
                    start, told = time.perf_counter(), step
                    figures = self._figures(losses, norm, speed)
                    metrics.add(step, figures)
                    bar.set_postfix_str(
                        f"loss {figures['loss']:.3f}, {speed:.1f} images/s, {figures['memory'] / 1e9:.1f} GB"
                    )
                if (step % reports.save == 0 or step == last or stop) and self.first:
                    self.save()
                if self.first and not stop:
                    self._report(step, metrics)
                if stop:
                    self.tell(f"stopped at step {step}; it is saved: go on with --resume")
                    break
        if self.first:
            plot_curves(metrics.read(), self.folder.training / "curves.png")
        return self.progress.step >= config.steps

    def step(self, batches: Iterator[Batch]) -> tuple[dict[str, float], float]:
        """Take one step.

        Returns:
            The losses of this process's images, and the norm of the gradient before it was clipped.

        Raises:
            InputError: if a loss or the norm is not finite; the state before the step is then saved.
        """
        number = self.progress.step
        # All that is random in a step follows from its number: a resumed run draws what the other would have drawn.
        seeds = np.random.SeedSequence(self.config.seed, spawn_key=(number, self.group.rank()))
        mx.random.seed(int(seeds.generate_state(1, np.uint64)[0]))
        losses, gradients, after = self.gradients(batches)
        gradients, norm = clip_grad_norm(gradients, self.config.optimizer.clip or math.inf)
        mx.eval(gradients)
        values, length = {name: _number(loss) for name, loss in losses.items()}, _number(norm)
        values = {"loss": sum(values.values()), **values}
        if self._any(not (math.isfinite(values["loss"]) and math.isfinite(length))):
            raise InputError(self._not_finite(values["loss"], length))
        self.optimizer.update(gradients, number)
        if self.average is not None:
            self.average.update(self.model, number)
        mx.eval(self.model.parameters(), self.optimizer.state, self.average.arrays if self.average else [])
        self.progress = Progress(number + 1, *after)
        return values, length

    def gradients(self, batches: Iterator[Batch]) -> tuple[dict[str, mx.array], dict[str, Any], tuple[int, int]]:
        """Return losses and gradients of the next batches, means over these, the gradients over all processes too.

        Returns:
            The losses, the gradients as a tree, and `after` of the last batch.
        """
        losses: dict[str, mx.array] = {}
        gradients: dict[str, Any] = {}
        for _ in range(self.config.accumulate):
            batch = next(batches)
            found = loss_and_gradients(
                self.model,
                batch.pixels.transpose(0, 3, 1, 2),
                batch.masks,
                batch.class_ids,
                dtype=mx.bfloat16 if self.config.dtype == "bfloat16" else None,
            )
            found = tree_map(lambda x: x / self.config.accumulate, found)
            losses, gradients = tree_map(mx.add, (losses, gradients), found) if gradients else found
            mx.eval(losses, gradients)
        return losses, nn.utils.average_gradients(gradients, self.group), batch.after

    def save(self) -> None:
        """Write the state, and the model that is to be used."""
        save_state(self.folder.state, self.progress, self.model, self.optimizer, self.average)
        self.folder.write(self.average.arrays if self.average else named_parameters(self.model))

    def segmenter(self) -> Segmenter:
        """Return the network as it is used: with averaged weights if there are any, until `train_mode`."""
        return Segmenter(
            self.model, self.loader.dataset.task, image_config=self.image_config, thing_ids=self.loader.dataset.things
        )

    def _report(self, step: int, metrics: Metrics) -> None:
        """Draw and measure, if it is time."""
        reports = self.config.reports
        draws = self.validation is not None and reports.pictures and step % reports.pictures == 0
        measures = reports.evaluate and step % reports.evaluate == 0
        if self.validation is None or not (draws or measures):
            return
        with self._in_use():
            if draws:
                write_pictures(
                    self.folder.training / "pictures", step, self.segmenter(), self.validation, reports.images
                )
            if measures:
                from lucid_mlx.evaluation import evaluate

                result = evaluate(self.segmenter(), self.validation, batch_size=self.config.batch_size)
                metrics.add(step, {"evaluation": dict(result.figures)})
                self.tell(f"step {step}: {result}")

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Give the network the averaged weights for a while."""
        own = named_parameters(self.model)
        try:
            if self.average is not None:
                self.model.load_weights(list(self.average.arrays.items()))
            yield
        finally:
            self.model.load_weights(list(own.items()))
            train_mode(self.model, self.config.network)

    def _figures(self, losses: Mapping[str, float], norm: float, speed: float) -> dict[str, float]:
        rate = self.config.optimizer.learning_rate
        factor = self.config.optimizer.factor(self.progress.step - 1, self.config.steps)
        memory = mx.get_peak_memory()
        return {**losses, "norm": norm, "learning_rate": rate * factor, "images_per_second": speed, "memory": memory}

    def _not_finite(self, loss: float, norm: float) -> str:
        if self.first:
            self.save()
        names = self.loader.names(*self.progress[1:], batches=self.config.accumulate)
        return (
            f"step {self.progress.step + 1} has a loss of {loss} and a gradient of the norm {norm}; the state before "
            f"it is saved in {self.folder.state}. Its images: {', '.join(names)}. Look at these, or lower the learning "
            "rate, and start again with --resume"
        )

    def _any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        if self.group.size() == 1:
            return flag
        return _number(mx.distributed.all_sum(mx.array(float(flag)), group=self.group)) > 0


def _number(array: mx.array) -> float:
    return cast(float, array.item())


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Take note of the first Ctrl-C or request to end instead of raising; the function tells whether there was one."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return

    def note(number: int, frame: Any) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The training loop."""

import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from os import PathLike
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.optimizers import clip_grad_norm
from mlx.utils import tree_flatten, tree_map
from tqdm.auto import tqdm

from lucid_mlx.backends import memory_given_back, tune_for_cpu
from lucid_mlx.data.validate import validate
from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.training.config import TrainingConfig
from lucid_mlx.training.folder import STATE_FILE, TRAINING_FOLDER, RunFolder, check_new
from lucid_mlx.training.gradients import loss_and_gradients
from lucid_mlx.training.imbalance import balance
from lucid_mlx.training.interrupt import Interrupt, deferred_interrupt
from lucid_mlx.training.loader import Batch, Loader
from lucid_mlx.training.monitor import Monitor
from lucid_mlx.training.optimizer import ExponentialMovingAverage, Optimizer
from lucid_mlx.training.progress import plan
from lucid_mlx.training.resume import keep_config, resumed_config
from lucid_mlx.training.start import initial_model, open_data, resumed_model, set_training_mode, source_of
from lucid_mlx.training.state import Progress, check_state, load_state, save_state
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.pace import Pace
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.validation import check_value

Log = Callable[[str], None]


class Trainer:
    """A training run: model, data, optimizer and progress.

    In a distributed run (`mlx.launch`) every process has one. The main process, of rank 0, logs and writes the files.

    Args:
        config: the configuration of the run.
        output: the folder for the model, the training state and the logs.
        resume: continue from the state in the folder, with the network that is there; what else has changed in the
            configuration is told. If False, the folder must not exist, or be empty.
        log: called with each message for the user, in the main process.
        model: to train, in place, such as of a builder or of `lucid_mlx.load`, for as many classes as the labels have;
            None for the network that the configuration describes.
        image_config: how images are normalized; None for what belongs to the weights.

    Attributes:
        config: the configuration of the run.
        group: the processes of a distributed run.
        is_main_process: whether this process logs and writes the files.
        log: called with each message for the user.
        model: the model that is trained.
        image_config: how its images are prepared.
        loader: makes the batches.
        class_weights: the weight of each class in the loss, (num_labels,); None for 1.
        validation: the validation data; None if there is none.
        optimizer: updates the model's parameters.
        ema: the exponential moving average of the parameters; None if there is none.
        progress: how far the run is.
        folder: the output folder.
        stopped_by: the number of the signal that stopped `fit`; None if none did.

    Raises:
        InputError: if the data, the weights or the folder cannot be used; or an optional library is missing.
    """

    def __init__(
        self,
        config: TrainingConfig,
        output: str | PathLike[str],
        resume: bool = False,
        log: Log = lambda message: None,
        model: Mask2Former | None = None,
        image_config: ImageConfig | None = None,
    ):
        check_value("config", config, TrainingConfig)
        check_value("image_config", image_config, ImageConfig | None)
        if resume and (model is not None or image_config is not None):
            raise InputError("a run that goes on has its model in the folder: leave out model= and image_config=")
        output = local_path(output, "output")
        tune_for_cpu()
        self.group = mx.distributed.init()
        self.stopped_by: int | None = None
        self.is_main_process = self.group.rank() == 0
        self.log = log if self.is_main_process else lambda message: None
        if self.is_main_process:
            if not resume:
                check_new(output)
            require("matplotlib", "train")
            if config.reports.evaluate:
                require("hotcoco", "train")
            if config.reports.tensorboard:
                require("tensorboardX", "tensorboard")
        changes: list[str] = []
        if resume:
            check_state(output / TRAINING_FOLDER / STATE_FILE)
            config, changes = resumed_config(output / TRAINING_FOLDER, config)
        self.config = config
        dataset, self.validation = open_data(config)
        messages: list[str] = []
        if resume:
            self.model, self.image_config = resumed_model(config, output, dataset)
        else:
            self.model, self.image_config, messages = initial_model(config, dataset, model, image_config)
        trained = cast(list[tuple[str, mx.array]], tree_flatten(self.model.trainable_parameters()))
        num_trained = sum(array.size for _, array in trained)
        for message in (*plan(config, dataset, self.validation, num_trained), *messages):
            self.log(message)
        if config.check and not resume and self.is_main_process:
            with memory_given_back():
                validate(dataset, progress=True)
        self.loader = Loader(
            dataset,
            config.augmentation,
            batch_size=config.batch_size,
            image_config=self.image_config,
            seed=config.seed,
            workers=config.workers,
            shard=(self.group.rank(), self.group.size()),
            filter_empty=config.filter_empty,
        )
        self.class_weights = balance(config, self.loader, self.log, progress=self.is_main_process)
        self.optimizer = Optimizer(self.model, config.optimizer, config.steps)
        decay = config.optimizer.ema_decay
        self.ema = ExponentialMovingAverage(self.model, decay) if decay else None
        self.progress = Progress()
        self._saved_step = self._batches = self._empty_batches = 0
        self.folder = RunFolder(
            output, self.model.config, self.image_config, dataset, config.dataset_name, source_of(config.network, model)
        )
        if resume:
            self.progress = load_state(self.folder.state, self.model, self.optimizer, self.ema)
            self._saved_step = self.progress.step
            told = f"; changed since: {', '.join(changes)}" if changes else ""
            self.log(f"goes on after step {self.progress.step}{told}")
        if self.is_main_process and not resume:
            self.folder.create(named_parameters(self.model))
        if self.is_main_process:
            keep_config(self.folder.training, config)
            if resume:
                self.folder.write_preprocessor()
            else:
                self.save()

    def fit(self, max_steps: int | None = None) -> bool:
        """Train to the end of the run. Ctrl-C saves the state and stops.

        Args:
            max_steps: stop after this step of the run; the learning rate schedule is still that of the whole run.

        Returns:
            Whether the run is finished.

        Raises:
            InputError: if the loss or the gradient is not finite, an image cannot be read, or a file cannot be written.
        """
        try:
            with self.folder.locked() if self.is_main_process else nullcontext():
                return self._fit(max_steps)
        except KeyboardInterrupt:  # the second one
            self.log(f"stopped at once; --resume goes on after step {self._saved_step}, whose state is saved")
            raise

    def _fit(self, max_steps: int | None) -> bool:
        config = self.config
        last = min(config.steps, max_steps or config.steps)
        batches = self.loader.batches(*self.progress[1:])
        bar = tqdm(
            total=config.steps, initial=min(self.progress.step, config.steps), unit="step", desc="train",
            disable=None if self.is_main_process else True,
        )  # fmt: skip
        images = config.batch_size * config.gradient_accumulation_steps
        pace = Pace(last, self.progress.step, images)
        with ExitStack() as stack:
            stack.enter_context(closing(batches))
            stack.enter_context(bar)
            monitor = self._monitor(pace) if self.is_main_process else None
            stack.enter_context(monitor or nullcontext())
            interrupt = stack.enter_context(deferred_interrupt(self.log))
            while self.progress.step < last:
                losses, grad_norm = self.step(batches)
                pace.finish_step()
                bar.set_postfix_str(f"loss {losses['loss']:.3f}", refresh=False)
                bar.update()
                early = monitor is not None and monitor.is_past_its_best
                stop = self._any(interrupt() or early)
                if monitor is not None:
                    is_last = stop or self.progress.step == last
                    monitor.report(self.progress.step, losses, grad_norm, to_people=bool(bar.disable), last=is_last)
                    monitor.warn_of_empty_batches(self._empty_batches, self._batches, is_last)
                    with pace.pause():
                        stop = self._save_and_validate(monitor, last, stop, interrupt)
                if stop:
                    self.stopped_by = interrupt.number
                    again = f"lucid-mlx train --output {shlex.quote(str(self.folder.path))} --resume"
                    self.log(f"stopped at step {self.progress.step}; the state is saved; this continues: {again}")
                    break
        return self.progress.step >= config.steps

    def _monitor(self, pace: Pace) -> Monitor:
        return Monitor(self.config, self.folder, self.validation, self.log, pace, self.progress.step)

    def _save_and_validate(self, monitor: Monitor, last: int, stop: bool, interrupt: Interrupt) -> bool:
        """Save and evaluate, if it is time; return whether the run shall stop."""
        step = self.progress.step
        if step % self.config.reports.save == 0 or step == last or stop:
            self.save()
            monitor.plot()
        if stop or not monitor.validation_is_due(step):
            return stop
        try:
            with interrupt.at_once() if self.group.size() == 1 else nullcontext(), self._inference_weights():
                monitor.validate(step, self.segmenter())
        except KeyboardInterrupt:
            self.save()
            return True
        return False

    def step(self, batches: Iterator[Batch]) -> tuple[dict[str, float], float]:
        """Train for one step.

        Args:
            batches: an iterator of the loader.

        Returns:
            The losses of this process's images by name, and the norm of the gradient before clipping.

        Raises:
            InputError: if a loss or the norm is not finite; the state before the step is then saved.
        """
        step = self.progress.step
        # The random numbers of a step depend on its number only, so that a resumed run draws the same.
        seeds = np.random.SeedSequence(self.config.seed, spawn_key=(step, self.group.rank()))
        mx.random.seed(int(seeds.generate_state(1, np.uint64)[0]))
        losses, gradients, next_position = self.compute_gradients(batches)
        gradients, norm = clip_grad_norm(gradients, self.config.optimizer.max_grad_norm or math.inf)
        mx.eval(gradients)
        values, grad_norm = {name: _number(loss) for name, loss in losses.items()}, _number(norm)
        values = {"loss": sum(values.values()), **values}
        if self._any(not (math.isfinite(values["loss"]) and math.isfinite(grad_norm))):
            raise InputError(self._not_finite(values["loss"], grad_norm))
        self.optimizer.update(gradients, step)
        if self.ema is not None:
            self.ema.update(self.model, step)
        mx.eval(self.model.parameters(), self.optimizer.state, self.ema.arrays if self.ema else [])
        self.progress = Progress(step + 1, *next_position)
        return values, grad_norm

    def compute_gradients(
        self, batches: Iterator[Batch]
    ) -> tuple[dict[str, mx.array], dict[str, Any], tuple[int, int]]:
        """Compute the losses and gradients of a step, as means over its batches.

        Args:
            batches: an iterator of the loader.

        Returns:
            The losses of this process's images, scalars by name; the gradients, averaged over all processes, a tree
            with the shapes of the trainable parameters; and the `next_position` of the last batch.
        """
        accumulated = self.config.gradient_accumulation_steps
        losses: dict[str, mx.array] = {}
        gradients: dict[str, Any] = {}
        for _ in range(accumulated):
            batch = next(batches)
            self._batches += 1
            self._empty_batches += not any(map(len, batch.class_ids))
            result = loss_and_gradients(
                self.model,
                batch.pixels.transpose(0, 3, 1, 2),
                batch.masks,
                batch.class_ids,
                dtype=mx.bfloat16 if self.config.dtype == "bfloat16" else None,
                class_weights=self.class_weights,
            )
            result = tree_map(lambda x: x / accumulated, result)
            losses, gradients = tree_map(mx.add, (losses, gradients), result) if gradients else result
            mx.eval(losses, gradients)
        return losses, nn.utils.average_gradients(gradients, self.group), batch.next_position

    def save(self) -> None:
        """Write the training state, and the weights of the model: the averaged ones if there are any."""
        save_state(self.folder.state, self.progress, self.model, self.optimizer, self.ema)
        self._saved_step = self.progress.step
        self.folder.write_weights(self.ema.arrays if self.ema else named_parameters(self.model))

    def segmenter(self) -> Segmenter:
        """Return a segmenter of the model, with its current weights. It puts the model into inference mode."""
        dataset = self.loader.dataset
        return Segmenter(self.model, dataset.task, image_config=self.image_config, thing_ids=dataset.thing_ids)

    @contextmanager
    def _inference_weights(self) -> Iterator[None]:
        """Load the averaged weights into the model for the time of the block."""
        trained = named_parameters(self.model)
        try:
            if self.ema is not None:
                self.model.load_weights(list(self.ema.arrays.items()))
            yield
        finally:
            self.model.load_weights(list(trained.items()))
            set_training_mode(self.model, self.config.network)

    def _not_finite(self, loss: float, grad_norm: float) -> str:
        """Save the state, and return the message for a loss or gradient that is not finite."""
        if self.is_main_process:
            self.save()
        names = self.loader.image_names(*self.progress[1:], batches=self.config.gradient_accumulation_steps)
        return (
            f"step {self.progress.step + 1} has a loss of {loss} and a gradient norm of {grad_norm}. The state before "
            f"it is saved in {self.folder.state}. Its images: {', '.join(names)}. Check them, or lower the learning "
            f"rate{' or set dtype to float32' if self.config.dtype != 'float32' else ''}, and continue with --resume"
        )

    def _any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        if self.group.size() == 1:
            return flag
        return _number(mx.distributed.all_sum(mx.array(float(flag)), group=self.group)) > 0


def _number(array: mx.array) -> float:
    return cast(float, array.item())

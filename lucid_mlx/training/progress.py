"""How a run goes on, told to people: what it will do, how fast it is, how much time is left."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from lucid_mlx.backends import device_name
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.training.config import TrainingConfig

SECONDS_BETWEEN_LINES = 60
FIRST_ESTIMATE = 3  # steps of a run after which the time left is told


class Pace:
    """The speed of a run. Time that does not belong to steps, such as for an evaluation, is left out.

    Args:
        total: steps of the run.
        done: steps that were finished before.
        images_per_step: images of a step.
        clock: returns the time in seconds.
    """

    def __init__(self, total: int, done: int, images_per_step: int, clock: Callable[[], float] = time.perf_counter):
        self._total, self._images, self._clock = total, images_per_step, clock
        self._step = self._begin = self._logged = done
        self._first_time: float | None = None
        self._line_time = self._logged_time = clock()

    def finish_step(self) -> None:
        """Count a step that is finished."""
        self._step += 1
        if self._first_time is None:  # the first step also compiles and fills caches
            self._first_time = self._clock()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave out the time of a block."""
        start = self._clock()
        yield
        paused = self._clock() - start
        self._logged_time += paused
        if self._first_time is not None:
            self._first_time += paused

    def images_per_second(self) -> float:
        """Return the images per second since the last call."""
        now, steps = self._clock(), self._step - self._logged
        speed = steps * self._images / max(now - self._logged_time, 1e-9)
        self._logged, self._logged_time = self._step, now
        return speed

    def line_is_due(self) -> bool:
        """Return whether people should hear of the run again."""
        early = self._step - self._begin == min(FIRST_ESTIMATE, self._total - self._begin)
        if not early and self._step < self._total and self._clock() - self._line_time < SECONDS_BETWEEN_LINES:
            return False
        self._line_time = self._clock()
        return True

    def time_left(self) -> str:
        """Return how much time is left, such as "12 min"; an empty text if that is not known yet."""
        steps = self._step - self._begin - 1  # since the first one
        if steps < 1 or self._first_time is None:
            return ""
        return duration((self._clock() - self._first_time) / steps * (self._total - self._step))


def duration(seconds: float) -> str:
    """Return a duration for people, such as "45 s" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def step_line(step: int, total: int, metrics: Mapping[str, float], time_left: str) -> str:
    """Return a line on a step.

    Args:
        step: its number.
        total: steps of the run.
        metrics: as `metrics.jsonl` has them.
        time_left: as of `Pace.time_left`.

    Returns:
        The line.
    """
    line = (
        f"step {step} of {total}: loss {metrics['loss']:.3f}, learning rate {metrics['learning_rate']:.2g}, "
        f"{metrics['images_per_second']:.1f} images/s, {metrics['memory'] / 1e9:.1f} GB"
    )
    return f"{line}, {time_left} left" if time_left and step < total else line


def plan(config: TrainingConfig, dataset: Dataset, validation: Dataset | None, num_trained: int) -> tuple[str, str]:
    """Return what a run will do, in two lines.

    Args:
        config: of the run.
        dataset: the training data.
        validation: the validation data, if there is any.
        num_trained: parameters that are trained.

    Returns:
        A line on the data, and one on the steps.
    """
    count, images = len(dataset.records), config.batch_size * config.gradient_accumulation_steps
    share = config.steps * images / count
    classes = "1 class" if len(dataset.class_names) == 1 else f"{len(dataset.class_names)} classes"
    others = "" if validation is None else f"; {len(validation.records)} images to validate"
    if validation is not None:
        shared = {record.name for record in dataset.records} & {record.name for record in validation.records}
        others += f", {len(shared)} of them also trained on" if shared else ""
    data = f"{count} images with labels for {dataset.task} segmentation, {classes}{others}"
    return data, (
        f"{config.steps} steps of {images} images of {config.sample_size} pixels, which is "
        f"{share:.{1 if share >= 0.1 else 3}f} times each image; {num_trained / 1e6:.1f} million parameters, "
        f"in {config.dtype} on the {device_name()}"
    )

"""How fast a long run is, and how much time is left, told to people."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

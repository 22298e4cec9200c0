"""Signals that ask a run to stop, which it does when its state is saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Interrupt:
    """Whether a signal asked a run to stop. The first one is kept in mind; a second one raises KeyboardInterrupt.

    Args:
        tell: called with a message for the user at the first signal.

    Attributes:
        number: of the signal; None if there was none.
    """

    def __init__(self, tell: Callable[[str], None] = lambda message: None):
        self.number: int | None = None
        self._tell, self._at_once = tell, False

    def __call__(self) -> bool:
        """Return whether there was a signal."""
        return self.number is not None

    def handle(self, number: int, frame: Any) -> None:
        """Handle a signal; arguments as of a signal handler."""
        again = self.number is not None
        self.number = number
        if again or self._at_once:
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # raised if the signal came while something else was being printed
            self._tell("stopping after this step, whose state is then saved; once more stops at once")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let the first signal raise KeyboardInterrupt too, for the time of a block that changes no state."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False


@contextmanager
def deferred_interrupt(tell: Callable[[str], None] = lambda message: None) -> Iterator[Interrupt]:
    """Catch the first SIGINT, SIGTERM or SIGHUP in the block instead of stopping; a second raises KeyboardInterrupt.

    A signal that is ignored already, as SIGHUP under `nohup`, stays so.

    Args:
        tell: called with a message for the user at the first signal.

    Yields:
        What tells whether there was one.
    """
    interrupt = Interrupt(tell)
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    numbers = [x for x in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(x) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, interrupt.handle) for number in numbers}
    try:
        yield interrupt
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

"""The threads that compute for all others, and what MLX wants of threads and forks.

MLX binds streams, arrays that are not computed yet and compiled functions to the thread that made them. A thread that
ends without clearing them may abort the process at its end (ml-explore/mlx#4373), and a forked process waits forever
for its parent's streams.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

import mlx.core as mx

from lucid_mlx.errors import InputError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

PIPE_BYTES = 1 << 22  # more than a pipe holds: who writes them waits for a reader

_Job = tuple["Future[Any]", Callable[[], Any]]


class Worker:
    """A thread that computes what other threads ask for, in turn. It starts with the first job and ends with Python.

    A `ThreadPoolExecutor` would refuse the jobs of threads that go on after the main thread, and would not let the
    thread clear MLX's streams when it ends.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()
        # Called after the threads that are no daemons have ended. One that is registered while Python ends is not.
        atexit.register(self._end)

    def forget(self) -> None:
        """Begin anew, in a forked process that has no such thread."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.RLock()  # a finalizer may come back while it is held
        self._thread: threading.Thread | None = None
        self._ended = False

    @property
    def started(self) -> bool:
        """Whether there was a job."""
        return self._thread is not None

    def run(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Call a function on the thread, and wait for what it returns or raises.

        Who is interrupted meanwhile goes on at once; the thread ends the job, and takes the next one after it.

        Args:
            function: what to call. On the thread itself it is called directly.
            *args: what to call it with.
            **kwargs: what to call it with.

        Returns:
            What the function returns.

        Raises:
            InputError: if this process was forked from one that had used MLX.
        """
        future = self.submit(function, *args, **kwargs)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # if it has not begun
            raise

    def submit(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> "Future[Result]":
        """Call a function on the thread, and go on meanwhile. A daemon that calls when Python is ending ends here.

        Args:
            function: what to call. On the thread itself it is called before this returns.
            *args: what to call it with.
            **kwargs: what to call it with.

        Returns:
            What will have what the function returns or raises.

        Raises:
            InputError: if this process was forked from one that had used MLX.
        """
        check_not_forked()
        future: Future[Result] = Future()
        job: _Job = future, lambda: function(*args, **kwargs)
        if threading.current_thread() is self._thread:
            _do(job)
            return future
        with self._lock:
            if not self._ended:
                if self._thread is None:
                    self._start()
                self._jobs.put(job)
                return future
        if threading.current_thread() is not threading.main_thread():  # which is the last to run
            threading.Event().wait()  # a daemon's end, which Python does not wait for
        _do(job)
        return future

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(job)
            del job  # it would be kept until the next one
        mx.clear_streams()
        # The end of a thread that compiled something may abort Python's, so this one does not end. It tells that it is
        # done and stops in one call: between two of them Python might end it.
        os.write(self._done[1], bytes(PIPE_BYTES))

    def _end(self) -> None:
        with self._lock:
            self._ended = True
        if self._thread is None:
            return
        self._done = os.pipe()
        self._jobs.put(None)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # who does not want to wait for the job's end presses Ctrl-C
        os.read(self._done[0], 1)


def _do(job: _Job) -> None:
    future, call = job
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)


class _ThreadEnd:
    """Clears what MLX keeps for a thread when that thread ends, and with it its `threading.local`."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def __del__(self) -> None:
        if not sys.is_finalizing() and threading.get_ident() == self._thread:
            mx.clear_streams()


class _Process:
    """What a fork leaves behind.

    Attributes:
        mlx_used: whether MLX had been used before the last fork.
        forked: whether this process was forked from one that had used MLX.
    """

    def __init__(self) -> None:
        self.mlx_used = self.forked = False

    def before_fork(self) -> None:
        self.mlx_used = WORKER.started or mx.get_peak_memory() > 0 or mx.get_active_memory() > 0

    def after_fork(self) -> None:
        self.forked = self.forked or self.mlx_used
        WORKER.forget()
        POSTPROCESSING.forget()


# Turns outputs of networks into results, while the next network runs. On a GPU it has a stream of its own.
POSTPROCESSING = Worker("lucid-mlx-postprocessing")
# Runs networks. It ends first, because it may wait for the other: what was registered last is called first.
WORKER = Worker("lucid-mlx-worker")
_PROCESS = _Process()
_LOCAL = threading.local()

os.register_at_fork(before=_PROCESS.before_fork, after_in_child=_PROCESS.after_fork)


def check_not_forked() -> None:
    """Check that MLX works in this process.

    Raises:
        InputError: if it was forked from one that had used MLX, and would wait forever.
    """
    if _PROCESS.forked:
        raise InputError(
            "this process was forked from one that had used MLX, which does not work after a fork; start it by spawn: "
            'multiprocessing.get_context("spawn"), or mp_context=get_context("spawn") for a ProcessPoolExecutor'
        )


def enter_thread() -> None:
    """Prepare the thread at hand for computing: when it ends, so does what MLX keeps for it.

    Raises:
        InputError: if this process was forked from one that had used MLX.
    """
    check_not_forked()
    if not hasattr(_LOCAL, "end"):
        main = threading.current_thread() is threading.main_thread()  # which MLX looks after
        _LOCAL.end = None if main else _ThreadEnd()

"""Work on all cores of a CPU.

MLX computes the operations of a stream one after the other, most of them on one core. Work that falls into chunks
therefore goes to as many streams as there are cores.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar

import mlx.core as mx

from lucid_mlx.backends.device import device

Result = TypeVar("Result")

STREAMS = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
_SMALL = 1 << 15  # numbers; a chunk that is smaller is not worth a stream

_inside = ContextVar("inside a chunk", default=False)
_calls: Counter[Callable[..., object]] = Counter()  # of each function


def stream(number: int) -> AbstractContextManager[object]:
    """Send operations to one of the CPU's streams, counted round and round; on a GPU do nothing."""
    number %= STREAMS
    return mx.stream(_stream(number)) if number and device() == "cpu" else nullcontext()


@cache
def _stream(number: int) -> mx.ThreadLocalStream:
    return mx.new_thread_local_stream(mx.cpu)


def parallel(function: Callable[..., mx.array], *arrays: mx.array, axis: int) -> mx.array:
    """Compute `function(*arrays)` chunk by chunk, each in its stream; inside a chunk nothing is cut again.

    Args:
        function: what gives the same for chunks along the axis, joined, as for the whole.
        *arrays: of one length along the axis.
        axis: where to cut and to join.

    Returns:
        What the function returns for the whole arrays, of any shape.
    """
    length = arrays[0].shape[axis]
    chunks = min(STREAMS, length, arrays[0].size // _SMALL)
    if chunks < 2 or _inside.get():
        return function(*arrays)
    ends = [length * chunk // chunks for chunk in range(1, chunks)]
    results = []
    token = _inside.set(True)
    try:
        for number, chunk in enumerate(zip(*(mx.split(array, ends, axis) for array in arrays), strict=True)):
            with stream(number):
                results.append(function(*chunk))
    finally:
        _inside.reset(token)
    return mx.concatenate(results, axis)


def in_next_stream(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in the stream after that of its last call, so that several calls run side by side.

    Args:
        function: what to compute; inside of it nothing is cut into chunks.
        *arguments: what to call it with.

    Returns:
        What the function returns.
    """
    token = _inside.set(True)
    try:
        _calls[function] += 1
        with stream(_calls[function]):
            return function(*arguments)
    finally:
        _inside.reset(token)


def evaluate_in_rounds(_: object, results: Sequence[Any]) -> None:
    """Compute results that `in_next_stream` gave one after the other, as many at a time as there are streams.

    Given all at once, MLX would queue those of one stream first, and the other streams would wait.

    Args:
        results: the arrays, or trees of them.
    """
    for first in range(0, len(results), STREAMS):
        mx.async_eval(results[first : first + STREAMS])
    mx.eval(results)


def run_in_threads(function: Callable[[int], None], numbers: Iterable[int]) -> None:
    """Call a function for each number on all cores.

    Args:
        function: one in NumPy and SciPy, which let other threads run meanwhile.
        numbers: what to call it with.
    """
    shared, errors = iter([*numbers]), list[BaseException]()

    def work() -> None:
        try:
            for number in shared:
                function(number)
        except BaseException as error:
            errors.append(error)

    # A pool would refuse the work of a thread that goes on after the main thread.
    threads = [threading.Thread(target=work) for _ in range(STREAMS - 1)]
    with suppress(RuntimeError):  # Python is ending
        for thread in threads:
            thread.start()
    work()
    for thread in threads:
        if thread.ident is not None:
            thread.join()
    if errors:
        raise errors[0]

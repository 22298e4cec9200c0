"""Work on all cores of a CPU.

MLX computes the operations of a queue (stream) one after the other, most of them on one core. Work that falls into
parts therefore goes to as many queues as there are cores. GPUs fill themselves: there, nothing is cut.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

import mlx.core as mx

QUEUES = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
_SMALL = 1 << 15  # numbers; a part that is smaller is not worth a queue

_inside = ContextVar("inside a part", default=False)


def on_cpu() -> bool:
    """Return whether operations run on the CPU."""
    return bool(mx.default_device().type == mx.DeviceType.cpu)


def queue(number: int) -> AbstractContextManager[object]:
    """Send operations to one of the CPU's queues, counted round and round; on a GPU do nothing."""
    number %= QUEUES
    return mx.stream(_queue(number)) if number and on_cpu() else nullcontext()


@cache
def _queue(number: int) -> mx.ThreadLocalStream:
    return mx.new_thread_local_stream(mx.cpu)


def start(results: Sequence[Any]) -> None:
    """Begin to compute results, arrays or trees of them, that were sent to the queues in turn.

    As many at a time as there are queues: given all at once, MLX would begin with those of one queue.
    """
    for first in range(0, len(results), QUEUES):
        mx.async_eval(results[first : first + QUEUES])


def in_parts(function: Callable[..., mx.array], *arrays: mx.array, axis: int) -> mx.array:
    """Compute `function(*arrays)`, on the CPU part by part, each in its queue; inside a part nothing is cut again.

    Args:
        function: what gives the same for parts along the axis, joined, as for the whole.
        arrays: of one length along the axis.
        axis: where to cut and to join.
    """
    length = arrays[0].shape[axis]
    parts = min(QUEUES, length, arrays[0].size // _SMALL)
    if parts < 2 or _inside.get() or not on_cpu():
        return function(*arrays)
    ends = [length * part // parts for part in range(1, parts)]
    results = []
    token = _inside.set(True)
    try:
        for number, part in enumerate(zip(*(mx.split(array, ends, axis) for array in arrays), strict=True)):
            with queue(number):
                results.append(function(*part))
    finally:
        _inside.reset(token)
    return mx.concatenate(results, axis)


def in_threads(function: Callable[[int], None], parts: Iterable[int]) -> None:
    """Call a function for each part on all cores: one in NumPy and SciPy, which let other threads run meanwhile."""
    with ThreadPoolExecutor(QUEUES) as pool:
        for _ in pool.map(function, parts):
            pass

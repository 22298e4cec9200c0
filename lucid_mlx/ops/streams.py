"""A second queue of work for the CPU."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import mlx.core as mx


def on_cpu() -> bool:
    """Return whether operations run on the CPU."""
    return bool(mx.default_device().type == mx.DeviceType.cpu)


def aside() -> AbstractContextManager[object]:
    """Send operations to a second queue of the CPU, where one queue keeps one core busy; on a GPU do nothing."""
    return mx.stream(_second_stream()) if on_cpu() else nullcontext()


@cache
def _second_stream() -> mx.ThreadLocalStream:
    return mx.new_thread_local_stream(mx.cpu)

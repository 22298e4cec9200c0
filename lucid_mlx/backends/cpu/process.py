"""Settings of the process that a Linux CPU wants; set by `tune_for_cpu`, and by nothing else."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

from lucid_mlx.backends.device import device

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
DEFAULT_MMAP_MAX = 65536
# What a forward may take for each pixel of its images, and the least number of pixels that is counted.
BYTES_A_PIXEL, LEAST_PIXELS = 384, 1 << 20


def tune_for_cpu() -> None:
    """Set this process up for speed on a Linux CPU; nothing happens on macOS or on a GPU.

    It changes two settings that belong to the whole process, for the worse of nothing but other programs' memory:

    - The C library keeps large freed blocks, instead of giving each back to the system at once. The system maps a new
      block page by page at its first use, which costs a factor of two to five on the maps of this network. Left alone
      if an environment variable of the C library (`MALLOC_...`) says otherwise.
    - MLX's memory limit follows what runs: the arrays there are, and `BYTES_A_PIXEL` for each pixel of the images.
      MLX allocates the results of some ten operations ahead of the one that it computes; beyond the limit it waits.
      At 1024x1024 pixels the peak falls from 1.4 to 0.8 GB, and the time stays. A limit that somebody else sets counts
      more; while gradients are computed there is none.

    The command line, the benchmarks and `lucid_mlx.training` call it. Call it yourself where the process is yours.
    """
    if sys.platform != "linux" or device() != "cpu":
        return
    _keep_freed_memory()
    MEMORY.on = True


def _keep_freed_memory() -> None:
    if (library := _tuned_library()) is not None:
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _tuned_library() -> "ctypes.CDLL | None":
    """Return the C library, if it has settings that the user has left alone."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") else None  # not in musl


@contextmanager
def memory_given_back() -> Iterator[None]:
    """Let the C library give freed memory back in the block, for work beside the network, such as decoding photos.

    Threads have memory of their own, which no other part of the process gets otherwise.

    Yields:
        Nothing.
    """
    library = _tuned_library() if MEMORY.on else None
    if library is not None:
        library.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
    try:
        yield
    finally:
        if library is not None:
            library.mallopt(M_MMAP_MAX, 0)


class MemoryLimit:
    """MLX's memory limit, which follows what runs once it is on.

    Attributes:
        on: whether `tune_for_cpu` was called, and nobody else has set a limit since.
    """

    def __init__(self) -> None:
        self.on = False
        self._before: int | None = None  # the limit that there was before ours
        self._ours: int | None = None
        self._forward: object = None

    def fit(self, pixels: int, forward: object) -> None:
        """Give a forward what it needs beside the arrays that there were before it.

        Args:
            pixels: of its images.
            forward: an object that stands for it; of several calls for one forward the first counts.
        """
        if forward is not self._forward:
            self._forward = forward
            self._set(mx.get_active_memory() + BYTES_A_PIXEL * max(pixels, LEAST_PIXELS))

    def lift(self) -> None:
        """Set the limit that was there before: gradients keep more than a forward, and would wait at each operation."""
        if self._before is not None:
            self._forward = None
            self._set(self._before)

    def _set(self, limit: int) -> None:
        if not self.on:
            return
        previous = mx.set_memory_limit(limit)
        if self._ours is None:
            self._before = previous
        elif previous != self._ours:  # somebody else's: it stays
            mx.set_memory_limit(previous)
            self.on = False
            return
        self._ours = limit


MEMORY = MemoryLimit()

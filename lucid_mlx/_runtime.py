"""What MLX needs to be fast on a Linux CPU, done once and before `mlx.core` is first imported.

MLX's Linux wheel bundles the reference BLAS: a 1024x1024 float32 product takes 0.57 s with it and 0.017 s with
OpenBLAS (2 x86 cores). The dynamic linker takes the first global definition of a symbol, so an OpenBLAS that is
loaded globally before `mlx.core` answers MLX's calls; loaded after it does nothing. Nothing happens on macOS,
where MLX uses Accelerate and Metal.

OpenBLAS gets one thread, because work is already cut for all cores (`ops/streams.py`): its own threads serve one
product at a time, and while they do, other work waits. They would also wait for the next product in a busy loop, 2^26
cycles long if nobody says otherwise, and so keep other processes off their cores. Whoever sets OPENBLAS_NUM_THREADS
has it otherwise; NumPy's own OpenBLAS keeps its threads.
"""

import ctypes
import ctypes.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = "OPENBLAS_NUM_THREADS"
SPIN = "14"  # cycles that a thread of OpenBLAS waits before it sleeps, as a power of two
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
WORK, PIXELS = 384 << 20, 1 << 20  # bytes for a forward of so many pixels, or fewer


def load_openblas() -> str | None:
    """Load an OpenBLAS of the machine globally, if there is one and MLX is not loaded yet.

    Returns:
        The name of the library that was loaded, or None.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", SPIN)
    with _one_thread():
        # The usual name first: a search takes 16 ms.
        for find in (lambda: "libopenblas.so.0", lambda: ctypes.util.find_library("openblas")):
            name = find()
            if name is None:
                continue
            try:
                ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            return name
    return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tell an OpenBLAS that is loaded here, and no other, to use one thread, unless somebody has said how many."""
    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        del os.environ[THREADS]


def keep_freed_memory() -> None:
    """Let the C library keep large freed blocks on Linux, instead of giving each back to the system at once.

    The system maps a new block page by page at its first use, which costs a factor of two to five on the maps of this
    network. MLX's own cache (`mx.set_cache_limit`) does as much, but keeps blocks by their size: as fast, it takes
    four times the memory. Nothing happens if an environment variable of the C library says otherwise.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # not in musl
            library.mallopt(M_MMAP_MAX, 0)
            library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class Room:
    """MLX's memory limit on a Linux CPU: what the weights take, and room to work.

    MLX allocates the results of some ten operations ahead of the one that is being computed. Beyond the limit it waits
    until nothing is computed: at 1024x1024 pixels the peak falls from 1.4 to 0.8 GB, and the time stays. A limit that
    somebody else has set is kept.
    """

    def __init__(self) -> None:
        import mlx.core as mx

        self.weights, self.limit = 0, WORK
        self.ours = sys.platform == "linux" and mx.default_device().type == mx.DeviceType.cpu
        if self.ours:
            self.before = mx.set_memory_limit(self.limit)

    def add(self, weights: int) -> None:
        """Raise the limit by the bytes of a model's weights."""
        self.weights += weights
        self._set(self.limit + weights)

    def fit(self, pixels: int) -> None:
        """Give a forward of so many pixels what it needs, so that it does not wait at each operation."""
        self._set(self.weights + WORK * max(pixels, PIXELS) // PIXELS)

    def lift(self) -> None:
        """Set the limit that was there before: training keeps more than that, and would wait at each operation."""
        self._set(self.before if self.ours else 0)
        self.ours = False

    def _set(self, limit: int) -> None:
        import mlx.core as mx

        if not self.ours:
            return
        previous = mx.set_memory_limit(limit)
        self.ours = previous == self.limit
        if self.ours:
            self.limit = limit
        else:
            mx.set_memory_limit(previous)


OPENBLAS = load_openblas()
keep_freed_memory()
ROOM = Room()

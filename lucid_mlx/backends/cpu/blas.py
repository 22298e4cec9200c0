"""OpenBLAS for MLX on Linux, loaded before `mlx.core` is first imported.

MLX's Linux wheel bundles the reference BLAS: a 1024x1024 float32 product takes 0.57 s with it and 0.017 s with
OpenBLAS (2 x86 cores). The dynamic linker takes the first global definition of a symbol, so an OpenBLAS that is
loaded globally before `mlx.core` answers MLX's calls; loaded after it does nothing. Nothing happens on macOS,
where MLX uses Accelerate and Metal.

OpenBLAS gets one thread, because work is already cut for all cores (`parallel.py`): its own threads serve one
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
TIMEOUT = "OPENBLAS_THREAD_TIMEOUT"
SPIN = "14"  # cycles that a thread of OpenBLAS waits before it sleeps, as a power of two


def load_openblas() -> str | None:
    """Load an OpenBLAS of the machine globally, if there is one and MLX is not loaded yet.

    Returns:
        The name of the library that was loaded, or None.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    with _environment({THREADS: "1", TIMEOUT: SPIN}):
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
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that nobody has set for what is loaded here, and for no other library."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


OPENBLAS = load_openblas()

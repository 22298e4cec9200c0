"""What MLX needs to be fast on a Linux CPU, done once and before `mlx.core` is first imported.

MLX's Linux wheel bundles the reference BLAS: a 1024x1024 float32 product takes 0.57 s with it and 0.017 s with
OpenBLAS (2 x86 cores). The dynamic linker takes the first global definition of a symbol, so an OpenBLAS that is
loaded globally before `mlx.core` answers MLX's calls; loaded after it does nothing. Nothing happens on macOS,
where MLX uses Accelerate and Metal.

OpenBLAS's threads wait for the next product in a busy loop, 2^26 cycles long if nobody says otherwise, and so keep
MLX's own work, or another process, off their cores: post-processing took three times as long beside a busy process.
"""

import ctypes
import ctypes.util
import os
import sys

SPIN = "14"  # cycles that a thread of OpenBLAS waits before it sleeps, as a power of two
DEFAULT_CACHE = 32 << 20  # MLX's own, in bytes


def load_openblas() -> str | None:
    """Load an OpenBLAS of the machine globally, if there is one and MLX is not loaded yet.

    Returns:
        The name of the library that was loaded, or None.
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", SPIN)
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


def raise_cache_limit() -> None:
    """Let MLX keep up to a quarter of the memory, at most 4 GB, for reuse on a Linux machine without a GPU.

    MLX keeps 32 MB of freed buffers on the CPU; larger ones are mapped anew, page by page, at each use. That
    costs a factor of two to five on the maps of this network.
    """
    import mlx.core as mx

    if sys.platform == "linux" and mx.default_device().type == mx.DeviceType.cpu:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        previous = mx.set_cache_limit(min(memory // 4, 4 << 30))
        if previous != DEFAULT_CACHE:
            mx.set_cache_limit(previous)  # somebody chose it


OPENBLAS = load_openblas()
raise_cache_limit()

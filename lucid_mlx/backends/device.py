"""Which device computes, and what follows from that for the rest of the package, by meaning."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

import mlx.core as mx

MAX_CACHE = 2 << 30  # bytes; a forward's arrays at 1333x800 pixels take a tenth of that
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of Linux; "max" if there is none


def device() -> Literal["cpu", "gpu"]:
    """Return where operations run that do not say otherwise."""
    return "gpu" if mx.default_device().type == mx.DeviceType.gpu else "cpu"


def device_name() -> str:
    """Return what people call the device: "CPU" or "GPU"."""
    return device().upper()


def default_dtype() -> mx.Dtype:
    """Return the floating-point type in which inference is fastest: float16 on a GPU, float32 on a CPU."""
    return mx.float16 if device() == "gpu" else mx.float32


def compilation_is_fast() -> bool:
    """Return whether `mx.compile` gains anything on a whole network.

    On a GPU it fuses what lies between the products. On a CPU it takes the vectorized functions of this package apart.
    """
    return device() == "gpu"


def packed_weights_are_fast() -> bool:
    """Return whether products with weights of 4 or 8 bits pay: on a CPU they are tens of times slower than floats'."""
    return device() == "gpu"


def numpy_is_fast() -> bool:
    """Return whether NumPy reduces an array faster than MLX: on a CPU it finds a row's largest 4 times as fast."""
    return device() == "cpu"


@lru_cache(1)
def memory_size() -> int:
    """Return how much memory a forward may take at the very most: the device's, in bytes; a container's, if less."""
    information = mx.device_info() if device() == "gpu" else {}
    for key in ("memory_size", "total_memory"):  # of Metal, of CUDA
        if information.get(key):
            return int(information[key])
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(size, int(CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):
        return size


def limit_cache() -> None:
    """On a GPU, keep at most an eighth of the memory, and 2 GB, of what was freed; MLX would keep nearly all of it.

    The setting belongs to the whole process: the command line sets it; a library does not.
    """
    if device() == "gpu":
        mx.set_cache_limit(min(memory_size() // 8, MAX_CACHE))


def float32_tolerance() -> float:
    """Return how far products may be off, relative to the largest magnitude: a GPU may round their factors to TF32."""
    return 1e-5 if device() == "cpu" else 5e-3


def tile_size() -> tuple[int, int]:
    """Return how to cut maps of a photo's size: bytes of a tile, and its columns.

    On a CPU a tile stays in the cache; a GPU wants fewer, larger launches.
    """
    return (1 << 20, 64) if device() == "cpu" else (128 << 20, 1024)

"""What is faster than plain MLX on the device at hand, and what other rooms need to know of that device."""

from lucid_mlx.backends.cpu import blas  # noqa: F401  # isort: skip  # before anything imports mlx
from lucid_mlx.backends.cpu.process import memory_given_back, tune_for_cpu
from lucid_mlx.backends.device import (
    compilation_is_fast,
    default_dtype,
    device_name,
    float32_tolerance,
    limit_cache,
    memory_size,
    numpy_is_fast,
    packed_weights_are_fast,
    tile_size,
)
from lucid_mlx.backends.dispatch import accelerated
from lucid_mlx.backends.evaluation import evaluated_in_order
from lucid_mlx.backends.worker import POSTPROCESSING, WORKER, check_not_forked

__all__ = [
    "POSTPROCESSING",
    "WORKER",
    "accelerated",
    "check_not_forked",
    "compilation_is_fast",
    "default_dtype",
    "device_name",
    "evaluated_in_order",
    "float32_tolerance",
    "limit_cache",
    "memory_given_back",
    "memory_size",
    "numpy_is_fast",
    "packed_weights_are_fast",
    "tile_size",
    "tune_for_cpu",
]

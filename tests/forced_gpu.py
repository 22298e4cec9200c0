"""The package made to believe in a GPU, while everything is computed on the CPU: `LUCID_TEST_GPU=1 pytest`.

So the ways that only a GPU takes are tested on a machine without one: its operations, packed weights, float16 by
default, and the code around compiled networks, though MLX compiles nothing. The kernels themselves are tested in
tests/kernels; here their definitions take their places.
"""

import os
from types import SimpleNamespace

import pytest

FORCED = os.environ.get("LUCID_TEST_GPU") == "1"


def believe_in_a_gpu() -> None:
    """Have the package, imported before or after, take the default device for a GPU."""
    from lucid_mlx.backends.gpu import deformable_attention  # isort: skip  # before mlx, for its BLAS
    from lucid_mlx.backends.gpu.comparison import Check

    import mlx.core as mx  # isort: skip

    mx.disable_compile()  # which would compile for the CPU, a second for each kernel
    mx.default_device = lambda: SimpleNamespace(type=mx.DeviceType.gpu)
    deformable_attention.usable = lambda *_: False
    Check.passed = lambda *_: False


def skip_what_is_of_the_cpu(items: list[pytest.Item]) -> None:
    """Skip the tests that are marked as of CPU-only behavior."""
    for item in items:
        if marker := item.get_closest_marker("cpu"):
            item.add_marker(pytest.mark.skip(reason=marker.args[0] if marker.args else "of the CPU alone"))

"""What follows from the device for the process."""

from importlib import metadata
from types import SimpleNamespace

import mlx.core as mx
import pytest

from lucid_mlx.backends import device


@pytest.mark.parametrize(("memory", "limit"), [(8 << 30, 1 << 30), (64 << 30, 2 << 30)])
def test_the_cache_of_a_gpu_is_bounded(memory, limit, monkeypatch):
    limits = []
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.gpu))
    monkeypatch.setattr(mx, "set_cache_limit", limits.append)
    monkeypatch.setattr(device, "memory_size", lambda: memory)
    device.limit_cache()
    assert limits == [limit]


def test_the_cache_of_a_cpu_is_left_alone(monkeypatch):
    monkeypatch.setattr(mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.cpu))
    monkeypatch.setattr(mx, "set_cache_limit", None)
    device.limit_cache()


def test_what_was_read_in_mlx_is_read_again_for_a_new_version():
    """What convolutions run by Winograd's way, and what fuses, was read in MLX's source: read it again, raise this.

    The rules are in backends/gpu/convolution.py, profiling/gpu_{rules,fusion}.py and backends/worker.py.
    """
    assert metadata.version("mlx").split(".")[:2] == ["0", "32"]

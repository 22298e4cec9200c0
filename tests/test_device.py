"""What follows from the device for the process."""

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

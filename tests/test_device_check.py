import json
from importlib.metadata import version

import mlx.core as mx
import numpy as np
import pytest
from helpers import SCENES, run_cli

from lucid_mlx.cli import doctor
from lucid_mlx.profiling import device_check, machine


def test_the_network_in_the_box_gives_what_was_recorded():
    found = device_check.check_network()
    assert list(found) == ["float32", "float16", "8 bits"]
    assert found["float32"]["error"] < 1e-4
    for name, errors in found.items():
        assert errors["error"] <= device_check.LIMITS[name][0]
        assert errors["changed"] <= device_check.LIMITS[name][1]


@pytest.mark.cpu("there are no kernels to check")
def test_doctor_verifies_and_ends_with_a_line_to_paste():
    report = json.loads(run_cli("doctor", "--verify").output.splitlines()[-1])
    assert report["verified"] is True
    assert report["gpu"] in ("none", "real", "paravirtual")
    assert report["network, float16"]["error"] < 0.03


def test_doctor_fails_when_the_network_is_off(monkeypatch):
    monkeypatch.setattr(doctor, "check_network", lambda: {"float16": {"error": 0.2, "changed": 0.0}})
    monkeypatch.setattr(doctor, "check_kernels", lambda: {"layer normalization, float16": "output off by 1e-01"})
    lines = run_cli("doctor", "--verify", code=1).output.splitlines()
    assert any("network, float16" in line and "WRONG" in line for line in lines)
    assert any('"verified": false' in line for line in lines)


def test_doctor_warns_of_inexact_convolutions(monkeypatch):
    monkeypatch.setattr(doctor, "convolution_error", lambda: 7e-3)
    assert "MLX_CONV_WINOGRAD=0" in run_cli("doctor").output


def test_convolutions_in_half_precision_are_exact():
    assert device_check.convolution_error() < device_check.CONVOLUTION_LIMIT


def test_the_rules_of_metal_were_read_in_this_version_of_mlx():
    """Read conv.cpp (Winograd), matmul.cpp, indexing.cpp and compile.cpp again, and change the version here."""
    assert version("mlx").split(".")[:2] == ["0", "32"]


@pytest.mark.parametrize(
    ("name", "kind"), [("Apple M2", "real"), ("Apple Paravirtual device", "paravirtual"), (None, "none")]
)
def test_a_paravirtual_gpu_is_told_from_a_real_one(name, kind, monkeypatch):
    monkeypatch.setattr(machine, "device_name", lambda: "GPU" if name else "CPU")
    monkeypatch.setattr(mx, "device_info", lambda: {"device_name": name})
    assert machine.gpu_kind() == kind


def test_bench_prints_a_line_to_share():
    lines = run_cli("bench", "--weights", SCENES, "--share", "--size", "64,96", "--runs", "1").output.splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    assert [row["size"] for row in rows] == [64, 96]
    assert {"chip", "cores", "memory_gb", "system", "mlx", "seconds", "peak_mb", "self_check", "gpu"} <= rows[0].keys()


def test_what_was_recorded_is_of_the_size_that_is_checked():
    expected = np.load(device_check.EXPECTED, allow_pickle=False)
    assert expected["classes"].shape == device_check.SIZE
    assert expected["masks_queries_logits"].dtype == np.float32

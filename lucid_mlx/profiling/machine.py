"""What machine this is, in words that others can compare."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx

import lucid_mlx
from lucid_mlx.backends import device_name, memory_size


def machine() -> dict[str, Any]:
    """Return chip, cores, memory, system and versions.

    Returns:
        Values by name; `gpu` is "none", "real" or "paravirtual", which a hosted macOS runner's is: its times say
        nothing of a Mac's, and its products were reported to be off by more than 1e-4.
    """
    return {
        "chip": _chip(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_size() / 2**30),
        "system": f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else platform.platform(),
        "python": platform.python_version(),
        "mlx": version("mlx"),
        "lucid_mlx": lucid_mlx.__version__,
        "device": device_name(),
        "gpu": gpu_kind(),
    }


def gpu_kind() -> str:
    """Return "none" if a CPU computes, else "paravirtual" or "real"."""
    if device_name() == "CPU":
        return "none"
    name = str(mx.device_info().get("device_name", ""))
    return "paravirtual" if "paravirtual" in name.lower() else "real"


def _chip() -> str:
    if device_name() == "GPU" and (name := mx.device_info().get("device_name")):
        return str(name)
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

"""`lucid-mlx doctor`."""

import platform
import sys
import time
from importlib import metadata

import click
import mlx.core as mx

import lucid_mlx
from lucid_mlx import _runtime
from lucid_mlx.bench import product_rate
from lucid_mlx.ops.deformable_kernel_check import TOLERANCES, Case, problem
from lucid_mlx.ops.deformable_plain import deformable_attention_plain
from lucid_mlx.ops.self_test import self_test, tolerance

SLOW_GFLOPS = 12  # the reference BLAS reaches 4 on one x86 core, OpenBLAS over 50


@click.command()
def doctor() -> None:
    """Show versions, devices and BLAS, and check every op in a second.

    The exit code is 1 if an op gives wrong numbers.

    \b
    Examples:
      lucid-mlx doctor
      lucid-mlx doctor && echo all is well
    """
    gpu = mx.default_device().type == mx.DeviceType.gpu
    _line("lucid_mlx", lucid_mlx.__version__)
    _line("mlx", metadata.version("mlx"))
    _line("python", f"{platform.python_version()} on {platform.platform()}")
    _line("device", "GPU" if gpu else "CPU")
    _line("Metal", "available" if mx.metal.is_available() else "not available")
    rate = product_rate(mx.float32, 512) / 1e9
    _line("float32 matmul", f"{rate:.0f} GFLOP/s on the {'GPU' if gpu else 'CPU'}")
    if sys.platform == "linux":
        _line("BLAS", _runtime.OPENBLAS or "MLX's own (reference BLAS)")
    if not gpu and rate < SLOW_GFLOPS:
        click.secho(f"  slow: {advice()}", fg="yellow")
    for state in fused_attention() if gpu else ["not used: its kernels are for GPUs"]:
        _line("fused attention", state)

    start, failed = time.perf_counter(), False
    for name, error in self_test().items():
        passed = error <= tolerance()
        failed |= not passed
        click.secho(f"{name:<24}{'ok' if passed else 'WRONG'}, error {error:.0e}", fg=None if passed else "red")
    _line("self-test", f"{'FAILED' if failed else 'passed'} in {time.perf_counter() - start:.1f} s")
    if failed:
        click.secho("please report this with the lines above", fg="red")
        raise SystemExit(1)


def fused_attention() -> list[str]:
    """Say for each dtype whether the GPU runs deformable attention as a kernel, or why not."""
    states = []
    for dtype in TOLERANCES:
        reason = problem(Case(dtype, heads=8, dim=32, levels=3, points=4), deformable_attention_plain)
        state = "in use" if reason is None else f"FAILED, not used: {reason} (please report this)"
        states.append(f"{str(dtype).removeprefix('mlx.core.')} {state}")
    return states


def advice() -> str:
    """Return what to do about a slow BLAS."""
    if sys.platform != "linux":
        return "another program may be using the processor"
    if _runtime.OPENBLAS is None:
        return (
            "install OpenBLAS (Debian, Ubuntu: sudo apt-get install libopenblas0-pthread; Fedora: sudo dnf "
            "install openblas) and import lucid_mlx before mlx"
        )
    return f"{_runtime.OPENBLAS} is loaded; another program may be using the processor"


def _line(name: str, value: str) -> None:
    click.echo(f"{name:<24}{value}")

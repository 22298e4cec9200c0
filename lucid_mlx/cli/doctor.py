"""`lucid-mlx doctor`."""

import inspect
import platform
import time
from importlib import metadata

import click
import mlx.core as mx

import lucid_mlx
from lucid_mlx.backends import device_name, float32_tolerance
from lucid_mlx.backends.report import advice, report
from lucid_mlx.ops.deformable_attention import multi_scale_deformable_attention
from lucid_mlx.ops.self_test import self_test
from lucid_mlx.profiling.timing import product_rate
from lucid_mlx.utils.text import echo


@click.command()
def doctor() -> None:
    """Show versions, devices and BLAS, and check the operations in a second.

    The exit code is 1 if an op gives wrong numbers.

    \b
    Examples:
      lucid-mlx doctor
      lucid-mlx doctor && echo all is well
    """
    _line("lucid_mlx", lucid_mlx.__version__)
    _line("mlx", metadata.version("mlx"))
    _line("python", f"{platform.python_version()} on {platform.platform()}")
    _line("device", device_name())
    rate = product_rate(mx.float32, 512)
    _line("float32 matmul", f"{rate / 1e9:.0f} GFLOP/s on the {device_name()}")
    if hint := advice(rate):
        echo(f"  slow: {hint}", fg="yellow")
    for title, text in report(inspect.unwrap(multi_scale_deformable_attention)).items():
        _line(title, text)

    start, failed = time.perf_counter(), False
    for name, error in self_test().items():
        passed = error <= float32_tolerance()
        failed |= not passed
        echo(f"{name:<28}{'ok' if passed else 'WRONG'}, error {error:.0e}", fg=None if passed else "red")
    _line("self-test", f"{'FAILED' if failed else 'passed'} in {time.perf_counter() - start:.1f} s")
    if failed:
        echo("please report this with the lines above", fg="red")
        raise SystemExit(1)


def _line(name: str, value: str) -> None:
    echo(f"{name:<28}{value}")

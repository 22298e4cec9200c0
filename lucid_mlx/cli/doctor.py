"""`lucid-mlx doctor`."""

import inspect
import json
import platform
import time
from importlib import metadata
from typing import Any

import click
import mlx.core as mx

import lucid_mlx
from lucid_mlx.backends import device_name, float32_tolerance
from lucid_mlx.backends.report import advice, report
from lucid_mlx.ops.deformable_attention import multi_scale_deformable_attention
from lucid_mlx.ops.self_test import self_test
from lucid_mlx.profiling.device_check import CONVOLUTION_LIMIT, LIMITS, check_kernels, check_network, convolution_error
from lucid_mlx.profiling.machine import machine
from lucid_mlx.profiling.timing import product_rate
from lucid_mlx.utils.text import echo


@click.command()
@click.option(
    "--verify",
    is_flag=True,
    help="Also run the network in the box on its scene in three types, and each kernel of a GPU, against recorded "
    "numbers; the last line is JSON to paste into a report.",
)
def doctor(verify: bool) -> None:
    """Show versions, devices and BLAS, and check the operations in a second.

    The exit code is 1 if an op gives wrong numbers.

    \b
    Examples:
      lucid-mlx doctor
      lucid-mlx doctor --verify
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
    error = convolution_error()
    _line("float16 3x3 convolution", f"rms error {error:.0e}")
    if not error <= CONVOLUTION_LIMIT:
        echo(
            "  inexact: MLX convolves by Winograd's way in half precision, which spoils masks; set "
            "MLX_CONV_WINOGRAD=0, or compute with --dtype float32. Please report this",
            fg="yellow",
        )
    if verify:
        failed |= not _verified({"self_test": "failed" if failed else "passed", "convolution_error": error})
    if failed:
        echo("please report this with the lines above", fg="red")
        raise SystemExit(1)


def _verified(found: dict[str, Any]) -> bool:
    """Check the network and the kernels, print what came out, and whether it is right."""
    passed = True
    for name, errors in check_network().items():
        error, changed = errors["error"], errors["changed"]
        right = error <= LIMITS[name][0] and changed <= LIMITS[name][1]
        passed &= right
        _line(f"network, {name}", f"{'ok' if right else 'WRONG'}, error {error:.0e}, {changed:.2%} of pixels changed")
        found[f"network, {name}"] = {"error": float(f"{error:.1e}"), "changed": round(changed, 5)}
    for name, result in check_kernels().items():
        passed &= result == "ok"
        _line(name, result)
        found[name] = result
    found["convolution_error"] = float(f"{found['convolution_error']:.1e}")
    echo(json.dumps({"verified": passed, **machine(), **found}))
    return passed


def _line(name: str, value: str) -> None:
    echo(f"{name:<28}{value}")

"""`lucid-mlx bench`."""

import json
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import click
import mlx.core as mx

import lucid_mlx
from lucid_mlx.backends import compilation_is_fast, default_dtype, device_name
from lucid_mlx.cli.inputs import tell_unused, weights_files
from lucid_mlx.cli.options import DTYPES, force_option, output_option, weights_option
from lucid_mlx.compiled import LOGITS, Compiled
from lucid_mlx.errors import InputError
from lucid_mlx.loading import load
from lucid_mlx.models import Mask2Former, create_model, list_models
from lucid_mlx.preprocessing.image_config import MAX_SIDE
from lucid_mlx.profiling.timing import Timing, flops_of_parts, measure, measure_in_turn, parts, product_rate
from lucid_mlx.utils.files import check_output_files, write_file
from lucid_mlx.utils.text import echo, shown
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, MAX_COUNT


def numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    """Read "512,1024"; arguments as of a click callback."""
    found = [int(part) if re.fullmatch(r"\s*[0-9]{1,9}\s*", part) else 0 for part in value.split(",")]
    most = MAX_SIDE if parameter.name == "sizes" else MAX_BATCH_SIZE
    if not 1 <= min(found) <= max(found) <= most:
        raise click.BadParameter(f"expected whole numbers from 1 to {most}, such as 1,2; got {shown(value)}")
    return found


@click.command()
@weights_option()
@click.option(
    "--model", default="mask2former_swin_tiny", show_default=True, help="The network, if no weights are given."
)
@click.option(
    "--size", "sizes", callback=numbers, default="512", show_default=True, help="Pixels a side, with commas between."
)
@click.option(
    "--batch-size", "batches", callback=numbers, default="1", show_default=True, help="Images at a time, with commas."
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Type to compute in. Default: float16 on a GPU and with --count, float32 on a CPU.",
)
@click.option(
    "--runs", type=click.IntRange(1, MAX_COUNT), default=5, show_default=True, help="Of each, after two that warm up."
)
@click.option("--against", type=click.Choice(["torch"]), help="Run transformers on torch in turn, on the same weights.")
@click.option("--count", is_flag=True, help="Count the work on Apple's GPU in place of timing; needs no GPU.")
@click.option("--share", is_flag=True, help="Print one line of JSON for each size in place of the table.")
@output_option("Write all figures to this JSON file.")
@force_option
def bench(
    weights: str | None, model: str, sizes: list[int], batches: list[int], dtype: str | None, runs: int,
    against: str | None, count: bool, share: bool, output: Path | None, force: bool,
) -> None:  # fmt: skip
    """Time a network on this machine, whole as it is used, which on a GPU is compiled, and part by part.

    \b
    Examples:
      lucid-mlx bench --size 512,1024
      lucid-mlx bench --share --size 512,1024
      lucid-mlx bench --count --size 1024
      lucid-mlx bench --weights facebook/mask2former-swin-tiny-ade-semantic --dtype float16 -o row.json
    """
    if output is not None:
        check_output_files([output], weights_files(weights), force)
    if weights is not None:
        tell_unused(None, {"model": "beside --weights"})
    kind = getattr(mx, dtype) if dtype else mx.float16 if count else default_dtype()
    dtype = str(kind).removeprefix("mlx.core.")
    start = time.perf_counter()
    network = _network(weights, model, kind)
    if count:
        rows = [_counted(network, size, batch, against) for size in sizes for batch in batches]
        if output is not None:
            counts = {"weights": weights or model, "dtype": dtype, "counted": True, "rows": rows}
            write_file(output, json.dumps(counts, indent=2).encode())
        return
    report: dict[str, Any] = {
        "weights": weights or model,
        "dtype": dtype,
        "machine": f"{platform.platform()}, {platform.machine()}",
        "device": device_name(),
        "versions": {"lucid_mlx": lucid_mlx.__version__, "mlx": version("mlx")},
        "load_seconds": time.perf_counter() - start,
        "products_per_second": product_rate(kind),
        "rows": [],
    }
    if share:
        for size in sizes:
            for batch in batches:
                echo(json.dumps(_shared(network, report["weights"], size, batch, runs)))
        return
    echo(f"{report['weights']}, {dtype}, on the {report['device']} ({report['machine']}), mlx {version('mlx')}")
    echo(
        f"ready in {report['load_seconds']:.2f} s; matrix products reach {report['products_per_second'] / 1e9:.0f} "
        "GFLOP/s"
    )
    for size in sizes:
        for batch in batches:
            report["rows"].append(_row(network, size, batch, runs, report["products_per_second"], against))
    if output is not None:
        write_file(output, json.dumps(report, indent=2).encode())


def _network(weights: str | None, name: str, dtype: mx.Dtype) -> Mask2Former:
    if weights is not None:
        network = load(weights, dtype)
    else:
        names = [known for known in list_models() if known.startswith("mask2former")]
        if name not in names:
            raise InputError(f"there is no network {name!r}; expected one of {', '.join(names)}")
        mx.random.seed(0)
        network = cast(Mask2Former, create_model(name, 150))
        network.set_dtype(dtype)
        network.eval()
    mx.eval(network.parameters())
    return network


def _counted(network: Mask2Former, size: int, batch: int, against: str | None) -> dict[str, Any]:
    """Count the work of one size of image and batch, and print it."""
    from lucid_mlx.profiling.gpu_work import gpu_work, table

    work = gpu_work(network, size, size, batch)
    echo(f"{size}x{size}, batch {batch}, counted for Apple's GPU; these are no times")
    echo(table(work, top=12))
    row: dict[str, Any] = {"size": size, "batch": batch, "by_kind": work.by_kind(), "flops": work.flops}
    row |= {"launches": len(work.launches), "bytes": work.moved}
    if against is not None:
        from lucid_mlx.profiling.torch_work import torch_work

        launches, flops = torch_work(network, size, size, batch)
        moved = sum(x.read + x.written for x in launches)
        echo(f"{against}: {len(launches)} launches, {moved / 1e9:.2f} GB, {flops / 1e9:.1f} GFLOP")
        row[against] = {"launches": len(launches), "bytes": moved, "flops": flops}
    echo("")
    return row


def _shared(network: Mask2Former, name: str, size: int, batch: int, runs: int) -> dict[str, Any]:
    """Measure the whole network, for a line that others can compare with theirs."""
    from lucid_mlx.profiling.device_check import check_kernels
    from lucid_mlx.profiling.machine import machine

    timing = measure(_forward(network, size, batch), runs)
    wrong = [kernel for kernel, state in check_kernels().items() if state != "ok"]
    return {
        **machine(),
        "weights": name,
        "dtype": str(network.dtype).removeprefix("mlx.core."),
        "size": size,
        "batch": batch,
        "seconds": round(timing.median, 4),
        "least": round(min(timing.seconds), 4),
        "first": round(timing.first, 2),
        "peak_mb": round(timing.peak / 1e6),
        "self_check": "failed: " + ", ".join(wrong) if wrong else "passed",
    }


def _forward(network: Mask2Former, size: int, batch: int) -> Callable[[], list[mx.array]]:
    """Return the forward as a `Segmenter` runs it."""
    pixels = mx.random.normal((batch, size, size, network.config.num_channels), key=mx.random.key(0))
    nchw = pixels.transpose(0, 3, 1, 2)
    mx.eval(nchw)
    run: Callable[[mx.array], Any] = Compiled(network) if compilation_is_fast() else network

    def forward() -> list[mx.array]:
        outputs = run(nchw)
        return [outputs[name] for name in LOGITS]

    return forward


def _row(network: Mask2Former, size: int, batch: int, runs: int, rate: float, against: str | None) -> dict[str, Any]:
    """Measure one size of image and batch, and print it."""
    pixels = mx.random.normal((batch, size, size, network.config.num_channels), key=mx.random.key(0))
    nchw = pixels.transpose(0, 3, 1, 2)
    mx.eval(pixels, nchw)
    works: dict[str, Any] = {"whole": _forward(network, size, batch)}
    if against is not None:
        from lucid_mlx.profiling.torch_reference import reference

        works[against] = reference(network, nchw)
    timings = measure_in_turn(works, runs)
    each = {name: measure(run, runs) for name, run in parts(network, pixels.astype(network.dtype)).items()}
    flops = flops_of_parts(network, pixels)

    whole = timings["whole"]
    echo("")
    echo(
        f"{size}x{size}, batch {batch}: {whole.median:.3f} s ({min(whole.seconds):.3f} to {max(whole.seconds):.3f}), "
        f"{batch / whole.median:.2f} images/s, first {whole.first:.2f} s, peak {whole.peak / 1e6:.0f} MB"
    )
    if against is not None:
        theirs = timings[against]
        echo(f"  {against}: {theirs.median:.3f} s, {theirs.median / whole.median:.2f} times ours")
    for name, timing in each.items():
        reached = f"{flops[name] / 1e9:8.1f} GFLOP {flops[name] / timing.median / rate:6.0%}" if name in flops else ""
        echo(f"  {name:20}{timing.median:8.3f} s{reached}")
    return {
        "size": size,
        "batch": batch,
        **{name: _figures(timing) for name, timing in timings.items()},
        "parts": {name: _figures(timing) for name, timing in each.items()},
        "flops": flops,
    }


def _figures(timing: Timing) -> dict[str, Any]:
    return {
        "median": timing.median,
        "first": timing.first,
        "seconds": list(timing.seconds),
        "peak_bytes": timing.peak,
    }

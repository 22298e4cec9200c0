"""Time multi-scale deformable attention, forward and backward: plain MLX, what its device gets, transformers on torch.

One encoder layer's shapes in Mask2Former: 8 heads of 32 channels, 4 points on each of the levels of strides 32, 16
and 8. The contenders take turns, and the medians are printed as a table and as one line of JSON. A GPU gets the fused
kernel, a CPU the product with a sparse matrix. The torch column needs the `parity` extra, and is left out without it.

    python benchmarks/deformable_attention.py                       # 512 and 1024 pixels
    python benchmarks/deformable_attention.py --device mps --dtype float16 --sizes 1024
"""

import argparse
import inspect
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import lucid_mlx  # isort: skip  # before mlx, for its BLAS
import mlx.core as mx
import numpy as np

from lucid_mlx.backends import device_name
from lucid_mlx.ops import multi_scale_deformable_attention as attention

HEADS, DIM, POINTS = 8, 32, 4
Run = Callable[[], None]


def main() -> None:
    lucid_mlx.tune_for_cpu()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="pixels, multiples of 32")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu", help="torch's: cpu, mps or cuda; MLX uses its default")
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()

    rows = [
        {"pixels": size, "pass": way, "milliseconds": measure(runs, args.runs)}
        for size in args.sizes
        for way, runs in contenders(size, args.dtype, args.device).items()
    ]
    names = list(rows[0]["milliseconds"])
    mlx_device = device_name()
    print(f"{args.dtype}, batch 1, median of {args.runs}, ms; MLX on the {mlx_device}, torch on {args.device}")
    print(f"{'pixels':>6}  {'pass':<20}" + "".join(f"{name:>10}" for name in names))
    for row in rows:
        print(
            f"{row['pixels']:>6}  {row['pass']:<20}" + "".join(f"{row['milliseconds'][name]:>10.2f}" for name in names)
        )
    setting = {"machine": platform.platform(), "mlx": mlx_device, "torch": args.device, "dtype": args.dtype}
    print(json.dumps(setting | {"versions": {"mlx": mx.__version__, "lucid_mlx": lucid_mlx.__version__}, "rows": rows}))


def measure(runs: dict[str, Run], count: int) -> dict[str, float]:
    """Return the median time of each, in milliseconds; they take turns, and the first two turns warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(count + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 2:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in times.items()}


def contenders(size: int, dtype: str, device: str) -> dict[str, dict[str, Run]]:
    """Return what to time for a size: for each pass, a function for each contender."""
    levels = [(size // stride, size // stride) for stride in (32, 16, 8)]
    cells = sum(height * width for height, width in levels)
    rng = np.random.default_rng(0)
    samples = (1, cells, HEADS, len(levels), POINTS)
    numbers = [
        rng.standard_normal((1, cells, HEADS, DIM)),
        nearby(levels, samples, rng),
        rng.dirichlet(np.ones(len(levels) * POINTS), (1, cells, HEADS)).reshape(samples),
        rng.standard_normal((1, cells, HEADS * DIM)),
    ]
    arrays = [x.astype(np.float32) for x in numbers]
    ways = {"definition": inspect.unwrap(attention), "backend": attention}
    runs = {name: mlx_runs(attend, arrays, levels, dtype) for name, attend in ways.items()}
    try:
        runs["torch"] = torch_runs(arrays, levels, dtype, device)
    except ModuleNotFoundError as error:
        print(f"without torch's column: {error}")
    passes = ("forward", "forward and backward")
    return {name: {way: pair[i] for way, pair in runs.items()} for i, name in enumerate(passes)}


def nearby(levels: list[tuple[int, int]], samples: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return locations a few cells away from each query's own, as a trained network's are."""
    centers = [np.stack(np.mgrid[:height, :width][::-1], -1).reshape(-1, 2) for height, width in levels]
    sizes = np.array([[width, height] for height, width in levels])
    own = np.concatenate([(center + 0.5) / size for center, size in zip(centers, sizes, strict=True)])
    return own[:, None, None, None] + 2 * rng.standard_normal((*samples, 2)) / sizes[:, None]


def mlx_runs(attend: Any, arrays: list[np.ndarray], levels: list[tuple[int, int]], dtype: str) -> tuple[Run, Run]:
    value, locations, weights, cotangent = map(mx.array, arrays)
    value, weights, cotangent = (x.astype(getattr(mx, dtype)) for x in (value, weights, cotangent))
    mx.eval(value, locations, weights, cotangent)

    def run(value: mx.array, locations: mx.array, weights: mx.array) -> mx.array:
        return attend(value, levels, locations, weights)

    primals = [value, locations, weights]
    return lambda: mx.eval(run(*primals)), lambda: mx.eval(mx.vjp(run, primals, [cotangent]))


def torch_runs(arrays: list[np.ndarray], levels: list[tuple[int, int]], dtype: str, device: str) -> tuple[Run, Run]:
    import torch
    from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

    # Its function wants one dtype.
    tensors = [torch.from_numpy(x).to(device, getattr(torch, dtype)) for x in arrays]
    *primals, cotangent = tensors
    wait = {"mps": lambda: torch.mps.synchronize(), "cuda": lambda: torch.cuda.synchronize()}.get(device, lambda: None)

    def forward() -> None:
        with torch.inference_mode():
            multi_scale_deformable_attention(primals[0], levels, primals[1], primals[2])
        wait()

    def backward() -> None:
        leaves = [x.detach().requires_grad_() for x in primals]
        out = multi_scale_deformable_attention(leaves[0], levels, leaves[1], leaves[2])
        torch.autograd.grad(out, leaves, cotangent)
        wait()

    return forward, backward


if __name__ == "__main__":
    main()

"""Bytes that MLX's operations of post-processing move on a GPU, pruned and plain, counted without one.

A result of 6000x4000 from 200 queries and 133 classes; the logits are those of benchmarks/postprocess.py. Each
operation that makes an array is charged its inputs and its output; reshapes and transposes are free, and a gather is
charged what it takes. Results are read by NumPy on the CPU, whose own work is not counted.

    python benchmarks/postprocess_bytes.py
"""

import argparse
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from lucid_mlx.postprocessing import panoptic, semantic  # before mlx, for its BLAS

import mlx.core as mx  # isort: skip
from postprocess import blobs, tasks

FUNCTIONS = ("minimum", "maximum", "contiguous", "sigmoid", "argmax", "softmax")
METHODS = ("__matmul__", "__add__", "__sub__", "__mul__", "__truediv__", "min", "max", "sum", "astype", "argmax")


def count_operations(moved: Counter[str]) -> None:
    """Have MLX's operations add the bytes that they move to a counter, from now on.

    Args:
        moved: bytes by operation.
    """

    def counted(name: str, function: Callable[..., mx.array]) -> Callable[..., mx.array]:
        def run(*args: Any, **kwargs: Any) -> mx.array:
            result = function(*args, **kwargs)
            moved[name] += result.nbytes + sum(x.nbytes for x in args if isinstance(x, mx.array))
            return result

        return run

    for name in FUNCTIONS:
        setattr(mx, name, counted(name, getattr(mx, name)))
    for name in METHODS:
        setattr(mx.array, name, counted(name.strip("_"), getattr(mx.array, name)))
    take = mx.array.__getitem__

    def counted_take(array: mx.array, index: Any) -> mx.array:
        result = take(array, index)
        parts = index if isinstance(index, tuple) else (index,)
        indices = [part for part in parts if isinstance(part, mx.array)]
        if indices:  # else a view
            moved["gather"] += 2 * result.nbytes + sum(part.nbytes for part in indices)
        return result

    mx.array.__getitem__ = counted_take


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["semantic", "semantic, scores resized", "panoptic"])
    arguments = parser.parse_args()
    mx.default_device = lambda: SimpleNamespace(type=mx.DeviceType.gpu)
    outputs = blobs(200, 200, 300)
    work = tasks(outputs, content_sizes=(800, 1200), size=(4000, 6000))
    moved: Counter[str] = Counter()
    count_operations(moved)
    pruned = semantic.pruned_map
    for name in arguments.tasks:
        totals = []
        for way in (lambda *_: None, pruned):
            for module in (semantic, panoptic):
                module.pruned_map = way
            moved.clear()
            work[name]()
            totals.append(moved.total())
            largest = ", ".join(f"{operation} {value / 1e9:.2f}" for operation, value in moved.most_common(4))
            print(
                f"{name}, {'pruned' if way is pruned else 'plain'}: {totals[-1] / 1e9:.2f} GB ({largest})", flush=True
            )
        print(f"  {totals[0] / totals[1]:.1f} times fewer bytes")


if __name__ == "__main__":
    main()

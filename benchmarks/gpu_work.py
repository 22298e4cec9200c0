"""The work of a forward on Apple's GPU, counted without one, for the presets and sizes of the documentation.

    python benchmarks/gpu_work.py
    python benchmarks/gpu_work.py --presets swin_large --sizes 640 --dtype float32 --against torch

What moves most bytes in one of them: `lucid-mlx bench --count --model mask2former_swin_tiny --size 1024`.
"""

import argparse
from typing import cast

import mlx.core as mx

from lucid_mlx.models import Mask2Former, create_model
from lucid_mlx.profiling.gpu_work import gpu_work
from lucid_mlx.profiling.torch_work import torch_work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["swin_tiny", "resnet_50"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024])
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--against", choices=["torch"])
    args = parser.parse_args()
    print("| | size | launches | GB moved | GFLOP | least ms: M1 / M2 Pro / M3 Max / M4 |\n|---|---|---|---|---|---|")
    for preset in args.presets:
        model = cast(Mask2Former, create_model(f"mask2former_{preset}", 133)).eval()
        model.set_dtype(getattr(mx, args.dtype))
        for size in args.sizes:
            work = gpu_work(model, size, size)
            least = work.roofline()
            chips = " / ".join(f"{1e3 * least[chip]:.0f}" for chip in ("M1", "M2 Pro", "M3 Max", "M4"))
            numbers = f"{len(work.launches)} | {work.moved / 1e9:.2f} | {work.flops / 1e9:.0f}"
            print(f"| {preset} | {size} | {numbers} | {chips} |", flush=True)
            if args.against:
                launches, flops = torch_work(model, size, size)
                moved = sum(x.read + x.written for x in launches)
                print(f"| {preset}, torch | {size} | {len(launches)} | {moved / 1e9:.2f} | {flops / 1e9:.0f} | |")


if __name__ == "__main__":
    main()

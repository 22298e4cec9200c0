"""Time and memory of post-processing, and its share of the forward's time.

python benchmarks/postprocess.py                  # Swin-T at 1024x1024, 100 queries, 133 classes
python benchmarks/postprocess.py --large          # 6000x4000 from 200 queries, random logits
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.images import Recipe, post_process, preprocess, read_image
from lucid_mlx.models import mask2former_swin_tiny

PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"
CLASSES, THINGS = 133, range(80)


def blobs(queries: int, height: int, width: int, sure: int) -> dict[str, mx.array]:
    """Logits of queries that each see a blob, `sure` of them with an object in it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    masks = np.stack(
        [
            np.clip(
                8 - ((y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2) / rng.uniform(20, 400),
                -20,
                20,
            )
            for _ in range(queries)
        ]
    )
    classes = rng.standard_normal((queries, CLASSES + 1))
    classes[:, -1] += 8
    classes[np.arange(sure), rng.integers(0, CLASSES, sure)] += 16
    return {
        "class_queries_logits": mx.array(classes[None].astype(np.float32)),
        "masks_queries_logits": mx.array(masks[None].astype(np.float32)),
    }


def tasks(outputs: dict[str, Any], seen: tuple[int, int], size: tuple[int, int]) -> dict[str, Callable[[], Any]]:
    sizes: dict[str, Any] = {"input_size": seen, "target_sizes": [size]}
    return {
        "semantic": lambda: post_process(outputs, "semantic", **sizes),
        "semantic, scores resized": lambda: post_process(outputs, "semantic", resize_scores=True, **sizes),
        "panoptic": lambda: post_process(outputs, "panoptic", thing_ids=THINGS, **sizes),
        "instance": lambda: post_process(outputs, "instance", thing_ids=THINGS, **sizes),
    }


def measure(run: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Median seconds, and megabytes of arrays at the peak above those that were there before."""
    run()
    before, seconds = mx.get_active_memory(), []
    mx.reset_peak_memory()
    for _ in range(runs):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), (mx.get_peak_memory() - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.large:
        outputs = blobs(200, 200, 300, sure=15)
        print("| 6000x4000, 200 queries, 133 classes | s | MB |\n|---|---|---|")
        for name, run in tasks(outputs, (800, 1200), (4000, 6000)).items():
            seconds, megabytes = measure(run, 1)
            print(f"| {name} | {seconds:.1f} | {megabytes:.0f} |")
        return
    mx.random.seed(0)
    model = mask2former_swin_tiny(CLASSES).eval()
    pixels = preprocess(read_image(PHOTO), Recipe(size=(1024, 1024))).pixels.transpose(0, 3, 1, 2)

    def forward() -> None:
        outputs = model(pixels)
        mx.eval(outputs["class_queries_logits"], outputs["masks_queries_logits"])

    whole, _ = measure(forward, arguments.runs)
    print(f"| 1024x1024, 100 queries, 133 classes | s | of the forward's {whole:.2f} s |\n|---|---|---|")
    for name, run in tasks(blobs(100, 256, 256, sure=15), (1024, 1024), (1024, 1024)).items():
        seconds, _ = measure(run, arguments.runs)
        print(f"| {name} | {seconds:.2f} | {seconds / whole:.1%} |")


if __name__ == "__main__":
    main()

"""Time and memory of post-processing: its share of the forward's time, or what a large photo takes.

Swin-T at 1024x1024 with 100 queries and 133 classes, the forward and the three tasks taking turns; or, with --large,
a result of 6000x4000 from 200 queries. The network's weights are random, so its logits are not those of a trained one:
the logits that are post-processed are drawn, a blob for each query, 15 of them sure of their class.

    python benchmarks/postprocess.py
    python benchmarks/postprocess.py --large --runs 1
    python benchmarks/postprocess.py --large --scene           # logits of a network for drawn scenes, enlarged
    python benchmarks/postprocess.py --large --scene --plain   # every pixel computed, without bounds
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lucid_mlx  # before mlx, for its BLAS

import mlx.core as mx  # isort: skip
import numpy as np

from lucid_mlx.models import mask2former_swin_tiny
from lucid_mlx.ops import resize_planes
from lucid_mlx.postprocessing import panoptic, post_process, semantic
from lucid_mlx.preprocessing import ImageConfig, preprocess, read_image

PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"
SCENES = Path(__file__).parents[1] / "tests" / "data" / "scenes_network"
CLASSES, THINGS, SURE = 133, range(80), 15


def main() -> None:
    lucid_mlx.tune_for_cpu()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--scene", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.plain:
        semantic.pruned_map = panoptic.pruned_map = lambda *_: None
    if arguments.large:
        outputs = scene_logits(200, 300) if arguments.scene else blobs(200, 200, 300)
        work = tasks(outputs, content_sizes=(800, 1200), size=(4000, 6000))
        print(f"6000x4000, {outputs['masks_queries_logits'].shape[1]} queries, {CLASSES} classes")
    else:
        work = {"forward": forward(), **tasks(blobs(100, 256, 256), content_sizes=(1024, 1024), size=(1024, 1024))}
        print("1024x1024, 100 queries, 133 classes")
    seconds: dict[str, list[float]] = {name: [] for name in work}
    megabytes = {}
    for turn in range(arguments.runs + 1):  # the first warms up
        for name, run in work.items():
            before = mx.get_active_memory()
            mx.reset_peak_memory()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
            megabytes[name] = (mx.get_peak_memory() - before) / 1e6
            if turn == 0:
                print(f"  {name}: {seconds[name].pop():.2f} s the first time", flush=True)
    whole = statistics.median(seconds["forward"]) if "forward" in work else None
    for name, times in seconds.items():
        median = statistics.median(times)
        share = f"{median / whole:8.1%} of the forward" if whole else ""
        print(f"{name:26}{median:8.2f} s {megabytes[name]:8.0f} MB{share}")


def forward() -> Callable[[], None]:
    mx.random.seed(0)
    model = mask2former_swin_tiny(CLASSES).eval()
    pixels = preprocess(read_image(PHOTO), ImageConfig(size=(1024, 1024))).pixels.transpose(0, 3, 1, 2)
    mx.eval(model.parameters(), pixels)

    def run() -> None:
        outputs = model(pixels)
        mx.eval(outputs["class_queries_logits"], outputs["masks_queries_logits"])

    return run


def blobs(queries: int, height: int, width: int) -> dict[str, mx.array]:
    """Logits of queries that each see a blob."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    masks = np.empty((queries, height, width), np.float32)
    for mask in masks:
        distance = (y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2
        mask[:] = np.clip(8 - distance / rng.uniform(20, 400), -20, 20)
    classes = rng.standard_normal((queries, CLASSES + 1)).astype(np.float32)
    classes[:, -1] += 8
    classes[np.arange(SURE), rng.integers(0, CLASSES, SURE)] += 16
    outputs = {"class_queries_logits": mx.array(classes[None]), "masks_queries_logits": mx.array(masks[None])}
    mx.eval(outputs)
    return outputs


def scene_logits(height: int, width: int) -> dict[str, mx.array]:
    """Logits of a trained network for a drawn scene, at another size, and with classes that never occur."""
    segmenter = lucid_mlx.Segmenter(SCENES)
    scene = read_image(SCENES / "scene.png")
    found = segmenter.model(preprocess(scene, segmenter.image_config).pixels.transpose(0, 3, 1, 2))
    classes = found["class_queries_logits"]
    never = mx.full((*classes.shape[:2], CLASSES + 1 - classes.shape[2]), -9.0)
    outputs = {
        "class_queries_logits": mx.concatenate([classes[..., :-1], never, classes[..., -1:]], axis=2),
        "masks_queries_logits": resize_planes(found["masks_queries_logits"], (height, width)),
    }
    mx.eval(outputs)
    return outputs


def tasks(
    outputs: dict[str, Any], content_sizes: tuple[int, int], size: tuple[int, int]
) -> dict[str, Callable[[], Any]]:
    sizes: dict[str, Any] = {"input_size": content_sizes, "target_sizes": [size]}

    def run_panoptic() -> None:
        mx.eval([result.segmentation for result in post_process(outputs, "panoptic", thing_ids=THINGS, **sizes)])

    return {
        "semantic": lambda: post_process(outputs, "semantic", **sizes),
        "semantic, scores resized": lambda: post_process(outputs, "semantic", resize_scores=True, **sizes),
        "panoptic": run_panoptic,
        "instance": lambda: post_process(outputs, "instance", thing_ids=THINGS, **sizes),
    }


if __name__ == "__main__":
    main()

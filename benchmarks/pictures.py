"""What reading, drawing and writing pictures adds to the network's time, on large photos.

`lucid-mlx segment` runs on a folder of 12-megapixel JPEGs at COCO's size, with a sleep and the logits of blobs in the
place of the network, so that the figure is that of the pictures alone: the whole time, divided by that of the sleeps.

    python benchmarks/pictures.py
    python benchmarks/pictures.py --photos 10 --seconds 0.75 --task instance --format overlay,coco
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import lucid_mlx  # before mlx, for its BLAS

import mlx.core as mx  # isort: skip
import numpy as np
from PIL import Image

from lucid_mlx.cli.main import main as command_line
from lucid_mlx.models import Mask2Former

PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"
SCENES = Path(__file__).parents[1] / "tests" / "data" / "scenes_network"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.75)
    parser.add_argument("--task", default="panoptic")
    parser.add_argument("--format", default="overlay")
    parser.add_argument("--size", default="800/1333")
    arguments = parser.parse_args()
    sleeps = replace_network(arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        photo = Image.open(PHOTO).resize((4000, 3000), Image.Resampling.BICUBIC)
        for number in range(arguments.photos):
            photo.save(photos / f"{number}.jpg", quality=92)
        start = time.perf_counter()
        options = ["--task", arguments.task, "--format", arguments.format, "--size", arguments.size]
        options += ["-o", f"{folder}/pictures"]
        command_line(["segment", str(photos), "--weights", str(SCENES), *options], standalone_mode=False)
        seconds = time.perf_counter() - start
    slept = sum(sleeps)
    print(f"{len(sleeps)} photos: {seconds:.1f} s, of which {slept:.1f} s of sleep: {seconds / slept:.3f} times")


def replace_network(seconds: float) -> list[float]:
    """Put a sleep in the place of the network; return the list of the sleeps."""
    sleeps: list[float] = []
    logits = functools.cache(blobs)

    def forward(model: Mask2Former, pixels: mx.array, **options: Any) -> dict[str, mx.array]:
        outputs = logits(pixels.shape[2] // 4, pixels.shape[3] // 4)
        start = time.perf_counter()
        time.sleep(seconds)
        sleeps.append(time.perf_counter() - start)
        return {name: mx.array(value) for name, value in outputs.items()}

    Mask2Former.forward = Mask2Former.__call__ = forward
    return sleeps


def blobs(height: int, width: int, queries: int = 100, classes: int = 15) -> dict[str, np.ndarray]:
    """Logits of queries that each see a blob; the first sees the rest of the image, and 20 are sure."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    center = rng.uniform(0, height, (queries, 1, 1)), rng.uniform(0, width, (queries, 1, 1))
    radius = rng.uniform(0.04, 0.2, (queries, 1, 1)) * min(height, width)
    masks = np.clip((radius**2 - (y - center[0]) ** 2 - (x - center[1]) ** 2) / radius, -20, 20)
    masks[0] = 4.0
    logits = rng.standard_normal((queries, classes + 1))
    logits[:, -1] += 8
    logits[np.arange(20), rng.integers(0, classes, 20)] += 20
    return {
        "class_queries_logits": logits[None].astype(np.float32),
        "masks_queries_logits": masks[None].astype(np.float32),
    }


if __name__ == "__main__":
    lucid_mlx.tune_for_cpu()
    main()

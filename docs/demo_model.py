"""Make the model that comes with the package, in lucid_mlx/demo, from a training run.

examples/train_demo.toml has the commands of the training. Then run

    python examples/fashion_scenes.py scenes/test --split test --count 500
    python docs/demo_model.py demo-run scenes/test

It stores the weights in half precision, evaluates them on the test scenes in all three tasks, and writes the card.
"""

import argparse
import shutil
from pathlib import Path

import lucid_mlx  # isort: skip  # before mlx, for its BLAS
import mlx.core as mx
from safetensors import safe_open

from lucid_mlx.cli.demo import THRESHOLDS
from lucid_mlx.data import open_dataset
from lucid_mlx.datasets import TASKS
from lucid_mlx.evaluation import Evaluation, evaluate
from lucid_mlx.weights import read_checkpoint, write_checkpoint
from lucid_mlx.weights.address import DEMO_FOLDER

SCENE = "scene.png"
CARD_METRICS = {"panoptic": ("PQ", "SQ", "RQ"), "semantic": ("mIoU",), "instance": ("AP", "AP50")}

CARD = """---
library_name: mlx
pipeline_tag: image-segmentation
license: mit
tags: [mlx, mask2former, {dataset}]
---

# A small Mask2Former for scenes of garments

{parameters:,} parameters in half precision, to try the package without a download: `lucid-mlx demo`, or
`--weights demo` with any command. It knows only the scenes that `examples/fashion_scenes.py` draws: garments of
Fashion-MNIST (MIT license) on five backgrounds. Its results on photos are meaningless.

Trained on scenes of 128x128 pixels: first the backbone, to classify garments by their true masks, then the whole model,
{step:,} steps of `examples/train_demo.toml`. On {images} test scenes, with photos of garments that are not in the
training scenes, in percent:

| task | metrics |
|---|---|
{rows}

    python examples/fashion_scenes.py scenes --split test --count {images}
    lucid-mlx eval --weights demo --dtype float32 --images scenes/images --annotations scenes/panoptic.json \\
        --batch-size 20 --task panoptic --threshold {threshold}

(For the other tasks, give their names and no threshold.)

Its masks are better than its classes: T-shirts, pullovers, dresses, coats and shirts look alike. The IoU of each class
in percent: {classes}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that lucid-mlx train wrote")
    parser.add_argument("scenes", type=Path, help="test scenes that examples/fashion_scenes.py wrote")
    parser.add_argument("--config", type=Path, default=Path("examples/train_demo.toml"), help="of the run")
    args = parser.parse_args()

    checkpoint = read_checkpoint(args.run)
    with safe_open(args.run / "training/state.safetensors", framework="numpy") as state:
        step = int(state.metadata()["step"])
    arrays = {name: array.astype(mx.float16) for name, array in checkpoint.arrays.items()}
    folder = DEMO_FOLDER.with_name("demo.new")
    write_checkpoint(folder, checkpoint.config, arrays, checkpoint.metadata, checkpoint.preprocessor)
    results = {task: measure(folder, task, args.scenes) for task in TASKS}
    (folder / "README.md").write_text(card(folder, results, step, args.config), encoding="utf-8")
    shutil.copy(args.scenes / "images/000007.png", folder / SCENE)
    if DEMO_FOLDER.exists():
        shutil.rmtree(DEMO_FOLDER)
    folder.rename(DEMO_FOLDER)


def measure(weights: Path, task: str, scenes: Path) -> Evaluation:
    dataset = open_dataset(scenes / "images", scenes / "panoptic.json")
    segmenter = lucid_mlx.Segmenter(weights, task, dtype=mx.float32)
    thresholds = THRESHOLDS if task == "panoptic" else None
    result = evaluate(segmenter, dataset, batch_size=20, thresholds=thresholds, progress=True)
    print(f"{task}: {result}")
    return result


def card(weights: Path, results: dict[str, Evaluation], step: int, config: Path) -> str:
    from lucid_mlx.training import read_config

    dataset_name = read_config(config).dataset_name
    rows = [
        f"| {task} | " + ", ".join(f"{name} {results[task].metrics[name]:.1f}" for name in names) + " |"
        for task, names in CARD_METRICS.items()
    ]
    return CARD.format(
        dataset=dataset_name,
        parameters=lucid_mlx.load(weights).parameter_size,
        step=step,
        images=results["panoptic"].images,
        rows="\n".join(rows),
        threshold=THRESHOLDS.threshold,
        classes=", ".join(f"{name} {values['IoU']:.0f}" for name, values in results["semantic"].per_class.items()),
    )


if __name__ == "__main__":
    main()

"""Time one training step of this package and of transformers on torch: same weights, photo, labels, same run.

A step is forward, loss, backward and AdamW's update, in training mode without dropout. Two worker processes, one per
framework, take turns: A B A B. Times are medians of the steps after a warm-up; peak memory is the largest resident
size of the worker, less what it held before its first step. Points are drawn anew in each step by each framework, so
that the losses differ in the third digit.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --size 384 --batch-size 1 --runs 9
    python benchmarks/training_step.py --against traced        # ours beside itself with matching inside of the trace
    python benchmarks/training_step.py --against checkpointed  # ours beside itself with gradient checkpointing
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from forward import ROOT, ask, peak_megabytes, photo, resident_megabytes

OBJECTS = (5, 8)  # of the images, in turn
LABELS = 20
LEARNING_RATE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--against", choices=[*WORKERS][1:], default="torch")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.folder, args.size, args.batch_size)
        return

    names = ("lucid_mlx", args.against)
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-c", PREPARE, name, str(LABELS)], check=True, cwd=ROOT)
        command = [
            sys.executable,
            __file__,
            "--folder",
            name,
            "--size",
            str(args.size),
            "--batch-size",
            str(args.batch_size),
        ]
        workers = {
            name: subprocess.Popen(
                [*command, "--worker", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for name in names
        }
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(args.runs + 2):
            for name, worker in workers.items():
                answers[name].append(ask(worker))
        for worker in workers.values():
            worker.communicate()

    print(f"small Swin, float32, batch {args.batch_size}, {args.size}x{args.size}, median of {args.runs}")
    print(f"{platform.platform()}, {platform.machine()}")
    print(f"{'':12}{'s':>8}{'MB':>8}{'first loss':>12}{'parameters':>12}")
    seconds = {}
    for name, steps in answers.items():
        seconds[name] = statistics.median(step["seconds"] for step in steps[2:])  # the first two warm up
        megabytes, loss, size = steps[-1]["megabytes"], steps[0]["loss"], steps[0]["parameters"]
        print(f"{name:12}{seconds[name]:>8.3f}{megabytes:>8.0f}{loss:>12.2f}{size:>12,}")
    print(f"{args.against}/ours {seconds[args.against] / seconds['lucid_mlx']:.2f}")


# In a process of its own, so that the workers start clean.
PREPARE = """
import sys; sys.path.insert(0, "tests/parity")
import lucid_mlx
from pathlib import Path
from reference import STAGES, build, small_config
from transformers import SwinConfig
from transformers.utils import logging
from lucid_mlx.convert import convert
logging.set_verbosity_error(); logging.disable_progress_bar()
folder = Path(sys.argv[1])
swin = SwinConfig(embed_dim=48, depths=[1, 1, 2, 1], num_heads=[2, 4, 8, 16], mlp_ratio=2.0, drop_path_rate=0.0,
                  out_features=STAGES)
sizes = {"feature_size": 64, "mask_feature_size": 64, "encoder_layers": 3, "encoder_feedforward_dim": 256}
build(small_config(backbone_config=swin, num_labels=int(sys.argv[2]), num_queries=100, decoder_layers=10,
                   dim_feedforward=256, **sizes), folder / "theirs")
convert(folder / "theirs", folder / "ours")
"""


def work(framework: str, folder: Path, size: int, batch: int) -> None:
    """Take a step for each line on standard input, and answer with the time, the loss and the peak memory."""
    step, parameters = WORKERS[framework](folder, size, batch)
    before = resident_megabytes()
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "megabytes": peak_megabytes() - before, "loss": loss, "parameters": parameters}
        print(json.dumps(answer), flush=True)


def labels(size: int, batch: int) -> tuple[list[Any], list[Any]]:
    """Discs as masks, (N, size, size) uint8, and their classes."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size] / size
    masks, classes = [], []
    for image in range(batch):
        y, x, radius = rng.random((3, OBJECTS[image % len(OBJECTS)], 1, 1))
        masks.append(((rows - y) ** 2 + (columns - x) ** 2 < (0.1 + 0.3 * radius) ** 2).astype(np.uint8))
        classes.append(rng.integers(0, LABELS, len(masks[-1])))
    return masks, classes


def prepare_ours(
    folder: Path, size: int, batch: int, traced: bool = False, checkpointed: bool = False
) -> tuple[Callable[[], float], int]:
    import lucid_mlx  # isort: skip  # before mlx, for its BLAS
    import mlx.core as mx
    import mlx.nn as nn

    from lucid_mlx.training import checkpoint_layers, loss_and_gradients
    from lucid_mlx.training.optimizer import Optimizer, OptimizerConfig

    lucid_mlx.tune_for_cpu()
    model = lucid_mlx.load(folder / "ours")
    model.train()
    if checkpointed:
        checkpoint_layers(model)
    optimizer = Optimizer(model, OptimizerConfig(LEARNING_RATE, schedule="cosine"), steps=1000)
    pixels = mx.repeat(mx.array(photo(size)), batch, axis=0)
    masks, classes = ([mx.array(x) for x in part] for part in labels(size, batch))
    mx.eval(model.parameters(), pixels, masks, classes)

    def step() -> float:
        if traced:
            loss, gradients = nn.value_and_grad(model, lambda: model(pixels, masks, classes)["loss"])()
        else:
            losses, gradients = loss_and_gradients(model, pixels, masks, classes)
            loss = model.get_loss(losses)
        optimizer.update(gradients, 0)
        mx.eval(loss, model.parameters(), optimizer.state)
        return loss.item()

    return step, model.parameter_size


def prepare_torch(folder: Path, size: int, batch: int) -> tuple[Callable[[], float], int]:
    import torch
    from transformers import Mask2FormerForUniversalSegmentation
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = Mask2FormerForUniversalSegmentation.from_pretrained(folder / "theirs").train()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    pixels = torch.from_numpy(photo(size)).repeat(batch, 1, 1, 1)
    masks, classes = labels(size, batch)
    masks, classes = [torch.from_numpy(x).float() for x in masks], [torch.from_numpy(x) for x in classes]

    def step() -> float:
        optimizer.zero_grad()
        loss = model(pixels, mask_labels=masks, class_labels=classes).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, sum(parameter.numel() for parameter in model.parameters())


# The first is measured beside one of the others.
WORKERS: dict[str, Callable[[Path, int, int], tuple[Callable[[], float], int]]] = {
    "lucid_mlx": prepare_ours,
    "torch": prepare_torch,
    "traced": partial(prepare_ours, traced=True),
    "checkpointed": partial(prepare_ours, checkpointed=True),
}


if __name__ == "__main__":
    main()

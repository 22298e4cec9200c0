"""Time one forward of this package and of transformers on torch: same weights, same photo, same run.

Each size is measured by two worker processes, one per framework, that take turns: A B A B. Times are medians of
the runs after a warm-up; peak memory is the largest resident size of the worker, less what it held before its
first forward.

    python benchmarks/forward.py                                      # Swin-T at 384, 512 and 1024
    python benchmarks/forward.py --preset resnet_50 --sizes 512 --runs 7
    TUNE=0 python benchmarks/forward.py                               # without lucid_mlx.tune_for_cpu()
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples" / "coffee.jpg"
FRAMEWORKS = ("lucid_mlx", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="swin_tiny")
    parser.add_argument("--sizes", type=int, nargs="+", default=[384, 512, 1024])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--worker", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.folder, args.sizes[0])
        return

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-c", PREPARE, str(folder), args.preset], check=True, cwd=ROOT)
        print(f"{args.preset}, float32, batch 1, median of {args.runs}; {platform.platform()}, {platform.machine()}")
        print(f"{'size':>6}{'ours s':>10}{'torch s':>10}{'torch/ours':>12}{'ours MB':>10}{'torch MB':>10}{'error':>10}")
        for size in args.sizes:
            measure(folder, size, args.runs)


# In a process of its own, so that the workers start clean.
PREPARE = """
import sys; sys.path.insert(0, "tests/parity")
import lucid_mlx
from pathlib import Path
from reference import BACKBONES, build
from transformers import Mask2FormerConfig
from transformers.utils import logging
from lucid_mlx.convert import convert
logging.set_verbosity_error(); logging.disable_progress_bar()
folder, preset = Path(sys.argv[1]), sys.argv[2]
build(Mask2FormerConfig(backbone_config=BACKBONES[preset](), num_labels=150), folder / "theirs")
convert(folder / "theirs", folder / "ours")
"""


def measure(folder: Path, size: int, runs: int) -> None:
    """Let both workers take turns and print a row."""
    command = [sys.executable, __file__, "--folder", str(folder), "--sizes", str(size), "--worker"]
    workers = {
        name: subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in FRAMEWORKS
    }
    seconds: dict[str, list[float]] = {name: [] for name in FRAMEWORKS}
    last: dict[str, Any] = {}
    for turn in range(runs + 2):  # the first two warm up
        for name, worker in workers.items():
            last[name] = ask(worker)
            if turn >= 2:
                seconds[name].append(last[name]["seconds"])
    for worker in workers.values():
        worker.communicate()
    ours, theirs = (statistics.median(seconds[name]) for name in FRAMEWORKS)
    # Sums of class probabilities: they differ in the sixth digit if the networks compute the same, or in the fourth
    # if an attention logit that is zero but for rounding fell on the other side.
    a, b = (last[name]["checksum"] for name in FRAMEWORKS)
    error = max(abs(x - y) for x, y in zip(a, b, strict=True)) / max(abs(y) for y in b)
    memory = [last[name]["megabytes"] for name in FRAMEWORKS]
    times = f"{ours:>10.3f}{theirs:>10.3f}{theirs / ours:>12.2f}"
    print(f"{size:>6}{times}{memory[0]:>10.0f}{memory[1]:>10.0f}{error:>10.0e}", flush=True)


def ask(worker: "subprocess.Popen[str]") -> dict[str, Any]:
    """Let a worker run once."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("run\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a worker died; its error is above")
    return json.loads(line)


def work(framework: str, folder: Path, size: int) -> None:
    """Run once for each line on standard input, and answer with the time and the peak memory."""
    run = {"lucid_mlx": prepare_ours, "torch": prepare_torch}[framework](folder, size)
    before = resident_megabytes()
    for _ in sys.stdin:
        start = time.perf_counter()
        checksum = run()
        seconds = time.perf_counter() - start
        print(
            json.dumps({"seconds": seconds, "megabytes": peak_megabytes() - before, "checksum": checksum}), flush=True
        )


def peak_megabytes() -> float:
    """Largest resident size of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def resident_megabytes() -> float:
    """Resident size of this process now."""
    kilobytes = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return int(kilobytes.stdout) * 1024 / 1e6


def photo(size: int) -> Any:
    """The photo as (1, 3, size, size), normalized as for ImageNet."""
    import numpy as np
    from PIL import Image

    with Image.open(PHOTO) as image:
        pixels = np.asarray(image.convert("RGB").resize((size, size)), np.float32) / 255
    pixels = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def prepare_ours(folder: Path, size: int) -> Callable[[], list[float]]:
    import lucid_mlx  # isort: skip  # before mlx, for its BLAS
    import mlx.core as mx

    if os.environ.get("TUNE") != "0":
        lucid_mlx.tune_for_cpu()
    model = lucid_mlx.load(folder / "ours")
    pixels = mx.array(photo(size))

    def run() -> list[float]:
        out = model(pixels)
        mx.eval(out["class_queries_logits"], out["masks_queries_logits"])
        return mx.softmax(out["class_queries_logits"], axis=-1).sum(axis=(0, 1))[:5].tolist()

    return run


def prepare_torch(folder: Path, size: int) -> Callable[[], list[float]]:
    import torch
    from transformers import Mask2FormerForUniversalSegmentation
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = Mask2FormerForUniversalSegmentation.from_pretrained(folder / "theirs").eval()
    pixels = torch.from_numpy(photo(size))

    @torch.inference_mode()
    def run() -> list[float]:
        out = model(pixels)
        return out.class_queries_logits.softmax(-1).sum((0, 1))[:5].tolist()

    return run


if __name__ == "__main__":
    main()

"""A look at a run before it begins: what it would train, on what, in how long, in how much memory."""

import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import mlx.core as mx

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.training.config import TrainingConfig
from lucid_mlx.training.trainer import Log, Trainer
from lucid_mlx.utils.pace import duration

TIMED_STEPS = 10
COUNTED_IMAGES = 1000


def dry_run(config: TrainingConfig, log: Log) -> None:
    """Train for a few steps in a temporary folder, and tell what a run would do and take.

    Args:
        config: of the run.
        log: called with each message for the user.

    Raises:
        InputError: as of `Trainer` and its steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder) / "run", log=log)
        log(count_segments(trainer.loader.dataset))
        mx.reset_peak_memory()
        with closing(trainer.loader.batches()) as batches:
            trainer.step(batches)  # the first one also compiles and fills caches
            start = time.perf_counter()
            for _ in range(TIMED_STEPS):
                trainer.step(batches)
            seconds = (time.perf_counter() - start) / TIMED_STEPS
        state = trainer.folder.state.stat().st_size
    log(
        f"a step takes {seconds:.2g} s, the mean of {TIMED_STEPS}, and {config.steps} steps "
        f"{duration(seconds * config.steps)}, without evaluations; memory {mx.get_peak_memory() / 1e9:.1f} GB, on disk "
        f"{state / 1e9:.2f} GB for the state alone"
    )


def count_segments(dataset: Dataset) -> str:
    """Count what there is of each class to learn.

    Args:
        dataset: labeled images.

    Returns:
        A line: segments by class, the most frequent first, in the first `COUNTED_IMAGES` images.
    """
    records = dataset.records[:COUNTED_IMAGES]
    found: Counter[int] = Counter()
    for record in records:
        found.update(record.target().class_ids.tolist())
    counts = sorted(((found[index], name) for index, name in enumerate(dataset.class_names)), reverse=True)
    of = f"the first {len(records)} images" if len(records) < len(dataset.records) else "all images"
    return f"segments in {of}: " + ", ".join(f"{count} {name}" for count, name in counts)

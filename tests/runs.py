"""A training run that takes a moment: what several tests change a little."""

from pathlib import Path
from typing import Any

import numpy as np
from helpers import SIZES, SWIN
from labeled import NAMES, write_label_maps

from lucid_mlx.training import LargeScaleJitter, Trainer, TrainingConfig
from lucid_mlx.training.config import LabelsConfig, NetworkConfig, ReportsConfig
from lucid_mlx.training.optimizer import OptimizerConfig

FIELDS: dict[str, Any] = {
    **{name: value for name, value in SIZES.items() if name != "num_labels"},
    "decoder_layers": 2,
    "train_num_points": 32,
    "backbone_config": SWIN,
}


def labels(folder: Path, count: int = 4) -> LabelsConfig:
    """Images of three classes, each in its own half or strip."""
    maps = np.zeros((32, 32), np.uint8)
    maps[8:], maps[20:, 10:] = 1, 2
    images, annotations = write_label_maps(folder, count, maps)
    (folder / "names.txt").write_text("\n".join(NAMES))
    return LabelsConfig(str(images), str(annotations), names=str(folder / "names.txt"))


def small_run(folder: Path, **changes: Any) -> TrainingConfig:
    """A configuration; `fields` are of the network."""
    given = labels(folder)
    fields = {**FIELDS, **changes.pop("fields", {})}
    values: dict[str, Any] = {
        "name": "maps",
        "steps": 4,
        "train": given,
        "validation": given,
        "augmentation": LargeScaleJitter(32, 0.8, 1.2),
        "network": NetworkConfig(fields=fields),
        "optimizer": OptimizerConfig(1e-3, 1.0, average=0.9),
        "reports": ReportsConfig(log=1, save=2, pictures=4, images=1),
        "batch_size": 2,
        "workers": 0,
        "check": False,
    }
    return TrainingConfig(**{**values, **changes})


def trained(config: TrainingConfig, output: Path, steps: int | None = None, resume: bool = False) -> Trainer:
    run = Trainer(config, output, resume)
    run.fit(steps)
    return run

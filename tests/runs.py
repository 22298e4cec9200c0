"""A short training run, which tests start with small changes."""

from pathlib import Path
from typing import Any

import numpy as np
from helpers import SIZES, SWIN
from labeled import NAMES, write_label_maps

from lucid_mlx.training import LargeScaleJitter, Trainer, TrainingConfig
from lucid_mlx.training.config import DatasetConfig, NetworkConfig, ReportsConfig
from lucid_mlx.training.optimizer import OptimizerConfig

FIELDS: dict[str, Any] = {
    **{name: value for name, value in SIZES.items() if name != "num_labels"},
    "decoder_layers": 2,
    "train_num_points": 32,
    "backbone_config": SWIN,
}


def labels(folder: Path, count: int = 4) -> DatasetConfig:
    """Images of three classes, each in its own half or strip."""
    maps = np.zeros((32, 32), np.uint8)
    maps[8:], maps[20:, 10:] = 1, 2
    images, annotations = write_label_maps(folder, count, maps)
    (folder / "names.txt").write_text("\n".join(NAMES))
    return DatasetConfig(str(images), str(annotations), names=str(folder / "names.txt"))


def small_run(folder: Path, **changes: Any) -> TrainingConfig:
    """A configuration with changes; `fields` are fields of the model's configuration."""
    dataset = labels(folder)
    fields = {**FIELDS, **changes.pop("fields", {})}
    values: dict[str, Any] = {
        "dataset_name": "maps",
        "steps": 4,
        "train": dataset,
        "validation": dataset,
        "augmentation": LargeScaleJitter(32, 0.8, 1.2),
        "network": NetworkConfig(fields=fields),
        "optimizer": OptimizerConfig(1e-3, 1.0, ema_decay=0.9),
        "reports": ReportsConfig(log=1, save=2, pictures=4, images=1),
        "batch_size": 2,
        "workers": 0,
        "check": False,
    }
    return TrainingConfig(**{**values, **changes})


def train(config: TrainingConfig, output: Path, max_steps: int | None = None, resume: bool = False) -> Trainer:
    trainer = Trainer(config, output, resume)
    trainer.fit(max_steps)
    return trainer

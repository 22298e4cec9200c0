"""Train a model on labeled images."""

from lucid_mlx.training.augment import Augmentation, LargeScaleJitter, ResizeAndCrop, Sample, shortest_edges
from lucid_mlx.training.config import TrainingConfig, read_config
from lucid_mlx.training.gradient_checkpointing import checkpoint_layers
from lucid_mlx.training.gradients import loss_and_gradients
from lucid_mlx.training.loader import Batch, Loader
from lucid_mlx.training.trainer import Trainer

__all__ = [
    "Augmentation",
    "Batch",
    "LargeScaleJitter",
    "Loader",
    "ResizeAndCrop",
    "Sample",
    "Trainer",
    "TrainingConfig",
    "checkpoint_layers",
    "loss_and_gradients",
    "read_config",
    "shortest_edges",
]

"""Labelled images in, a trained network out."""

from lucid_mlx.training.augment import Augmentation, LargeScaleJitter, Sample, ScaleAndCrop, lengths
from lucid_mlx.training.check import check
from lucid_mlx.training.coco import coco_dataset
from lucid_mlx.training.config import TrainingConfig, read_config
from lucid_mlx.training.dataset import Dataset, Record, Target
from lucid_mlx.training.fit import Run
from lucid_mlx.training.label_maps import label_maps
from lucid_mlx.training.loader import Batch, Loader
from lucid_mlx.training.open import open_dataset

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "LargeScaleJitter",
    "Loader",
    "Record",
    "Run",
    "Sample",
    "ScaleAndCrop",
    "Target",
    "TrainingConfig",
    "check",
    "coco_dataset",
    "label_maps",
    "lengths",
    "open_dataset",
    "read_config",
]

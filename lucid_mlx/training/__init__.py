"""Labelled images in, batches out."""

from lucid_mlx.training.augment import Augmentation, LargeScaleJitter, Sample, ScaleAndCrop, lengths
from lucid_mlx.training.check import check
from lucid_mlx.training.coco import coco_dataset
from lucid_mlx.training.dataset import Dataset, Record, Target
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
    "Sample",
    "ScaleAndCrop",
    "Target",
    "check",
    "coco_dataset",
    "label_maps",
    "lengths",
    "open_dataset",
]

"""Labeled images, for training and for evaluation."""

from lucid_mlx.data.coco import coco_dataset
from lucid_mlx.data.dataset import Dataset, Record, Target
from lucid_mlx.data.label_maps import label_map_dataset
from lucid_mlx.data.open_dataset import open_dataset
from lucid_mlx.data.validate import validate

__all__ = ["Dataset", "Record", "Target", "coco_dataset", "label_map_dataset", "open_dataset", "validate"]

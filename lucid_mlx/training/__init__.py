"""Labelled images in, batches out."""

from lucid_mlx.training.check import check
from lucid_mlx.training.coco import coco_instances, coco_panoptic
from lucid_mlx.training.dataset import Dataset, Record, Target
from lucid_mlx.training.label_maps import label_maps

__all__ = ["Dataset", "Record", "Target", "check", "coco_instances", "coco_panoptic", "label_maps"]

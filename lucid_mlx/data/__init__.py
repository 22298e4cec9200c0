"""Labeled images, for training and for evaluation."""

from lucid_mlx.data.coco import coco_dataset
from lucid_mlx.data.dataset import Dataset, Record, Target
from lucid_mlx.data.hugging_face import hugging_face_dataset
from lucid_mlx.data.label_maps import label_map_dataset
from lucid_mlx.data.open_dataset import open_dataset
from lucid_mlx.data.validate import validate
from lucid_mlx.data.youtube_vis import VideoDataset, youtube_vis_dataset

__all__ = [
    "Dataset",
    "Record",
    "Target",
    "VideoDataset",
    "coco_dataset",
    "hugging_face_dataset",
    "label_map_dataset",
    "open_dataset",
    "validate",
    "youtube_vis_dataset",
]

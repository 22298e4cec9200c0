"""Pixels in, pictures out."""

from lucid_mlx.images.colours import palette
from lucid_mlx.images.draw import draw_instances, draw_panoptic, draw_semantic, side_by_side
from lucid_mlx.images.postprocess import (
    instance_segmentation,
    panoptic_segmentation,
    post_process,
    semantic_segmentation,
)
from lucid_mlx.images.preprocess import Batch, batches, preprocess
from lucid_mlx.images.read import read_image
from lucid_mlx.images.recipes import Recipe, parse_size, published_recipe
from lucid_mlx.images.result import Segmentation
from lucid_mlx.images.segment import Segment

__all__ = [
    "Batch",
    "Recipe",
    "Segment",
    "Segmentation",
    "batches",
    "draw_instances",
    "draw_panoptic",
    "draw_semantic",
    "instance_segmentation",
    "palette",
    "panoptic_segmentation",
    "parse_size",
    "post_process",
    "preprocess",
    "published_recipe",
    "read_image",
    "semantic_segmentation",
    "side_by_side",
]

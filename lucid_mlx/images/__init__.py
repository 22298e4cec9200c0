"""Pixels in, pictures out."""

from lucid_mlx.images.colours import palette
from lucid_mlx.images.draw import draw_instances, draw_panoptic, draw_semantic, side_by_side
from lucid_mlx.images.postprocess import semantic_map
from lucid_mlx.images.preprocess import Recipe, preprocess
from lucid_mlx.images.read import read_image

__all__ = [
    "Recipe",
    "draw_instances",
    "draw_panoptic",
    "draw_semantic",
    "palette",
    "preprocess",
    "read_image",
    "semantic_map",
    "side_by_side",
]

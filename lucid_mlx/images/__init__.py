"""Pixels in, pictures out."""

from lucid_mlx.images.draw import draw_semantic
from lucid_mlx.images.postprocess import semantic_map
from lucid_mlx.images.preprocess import Recipe, preprocess
from lucid_mlx.images.read import read_image

__all__ = ["Recipe", "draw_semantic", "preprocess", "read_image", "semantic_map"]

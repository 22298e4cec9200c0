"""Pixels in, pictures out."""

from lucid_mlx.images.draw import draw_semantic
from lucid_mlx.images.postprocess import semantic_map
from lucid_mlx.images.preprocess import Batch, batches, preprocess
from lucid_mlx.images.read import read_image
from lucid_mlx.images.recipes import Recipe, parse_size, published_recipe

__all__ = [
    "Batch",
    "Recipe",
    "batches",
    "draw_semantic",
    "parse_size",
    "preprocess",
    "published_recipe",
    "read_image",
    "semantic_map",
]

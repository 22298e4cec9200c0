"""Pixels in: read an image and prepare it for the network."""

from lucid_mlx.preprocessing.image_config import ImageConfig, parse_size, published_image_config
from lucid_mlx.preprocessing.preprocess import ImageBatch, batches, preprocess
from lucid_mlx.preprocessing.read_image import read_image

__all__ = [
    "ImageBatch",
    "ImageConfig",
    "batches",
    "parse_size",
    "preprocess",
    "published_image_config",
    "read_image",
]

"""Mask2Former, universal image segmentation, native on Apple silicon with MLX."""

from lucid_mlx import _runtime  # noqa: F401  # isort: skip  # before anything imports mlx
from lucid_mlx import models, random, weights
from lucid_mlx.errors import InputError
from lucid_mlx.images import Segmentation
from lucid_mlx.models.load import load
from lucid_mlx.segmenter import Limits, Segmenter

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "Limits",
    "Segmentation",
    "Segmenter",
    "__version__",
    "load",
    "models",
    "random",
    "weights",
]

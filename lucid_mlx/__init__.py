"""Mask2Former, universal image segmentation, native on Apple silicon with MLX."""

from lucid_mlx import _runtime  # noqa: F401  # isort: skip  # before anything imports mlx
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "InputError": "errors",
    "Limits": "segmenter",
    "Segmentation": "images",
    "Segmenter": "segmenter",
    "load": "models.load",
}


def __getattr__(name: str) -> object:
    """Import what is public when it is first used: importing the package takes a tenth of the time."""
    if name in _HOMES:
        globals()[name] = getattr(import_module(f"lucid_mlx.{_HOMES[name]}"), name)
        return globals()[name]
    if name in __all__:
        return import_module(f"lucid_mlx.{name}")
    raise AttributeError(f"module 'lucid_mlx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""Mask2Former, universal image segmentation, native on Apple silicon with MLX.

In this package's documentation "the reference" is Hugging Face transformers' Mask2Former, "the original" the authors'
code for detectron2, and "lucid" the framework whose names and behaviour the models have.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lucid_mlx.backends.cpu import blas  # noqa: F401  # before anything imports mlx

if TYPE_CHECKING:
    from lucid_mlx import (
        data,
        evaluation,
        models,
        postprocessing,
        preprocessing,
        random,
        results,
        training,
        video,
        visualization,
        weights,
    )
    from lucid_mlx.backends import tune_for_cpu
    from lucid_mlx.errors import InputError
    from lucid_mlx.loading import load
    from lucid_mlx.pipelines import pipeline
    from lucid_mlx.postprocessing.inputs import Thresholds
    from lucid_mlx.preprocessing import ImageConfig
    from lucid_mlx.results import Segmentation, VideoSegmentation
    from lucid_mlx.segmenter import Segmenter
    from lucid_mlx.tiles import segment_tiled
    from lucid_mlx.video import VideoSegmenter

__version__ = "0.1.0"

__all__ = [
    "ImageConfig",
    "InputError",
    "Segmentation",
    "Segmenter",
    "Thresholds",
    "VideoSegmentation",
    "VideoSegmenter",
    "__version__",
    "data",
    "evaluation",
    "load",
    "models",
    "pipeline",
    "postprocessing",
    "preprocessing",
    "random",
    "results",
    "segment_tiled",
    "training",
    "tune_for_cpu",
    "video",
    "visualization",
    "weights",
]

_HOMES = {
    "ImageConfig": "preprocessing",
    "InputError": "errors",
    "Segmentation": "results",
    "Segmenter": "segmenter",
    "Thresholds": "postprocessing.inputs",
    "VideoSegmentation": "results",
    "VideoSegmenter": "video.video_segmenter",
    "load": "loading",
    "pipeline": "pipelines",
    "segment_tiled": "tiles",
    "tune_for_cpu": "backends",
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

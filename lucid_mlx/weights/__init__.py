"""Weights: the registry, names, download and cache, and reading and writing of converted checkpoints."""

from lucid_mlx.weights.apply import apply
from lucid_mlx.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from lucid_mlx.weights.enums import (
    Mask2Former_Swin_Base_Weights,
    Mask2Former_Swin_Large_Weights,
    Mask2Former_Swin_Small_Weights,
    Mask2Former_Swin_Tiny_Weights,
    ResNet_18_Weights,
    ResNet_34_Weights,
    ResNet_50_Weights,
    ResNet_101_Weights,
    ResNet_152_Weights,
    Swin_Base_Weights,
    Swin_Tiny_Weights,
)
from lucid_mlx.weights.registry import WeightEntry, WeightsEnum, get_enum, list_available, resolve

__all__ = [
    "Checkpoint",
    "Mask2Former_Swin_Base_Weights",
    "Mask2Former_Swin_Large_Weights",
    "Mask2Former_Swin_Small_Weights",
    "Mask2Former_Swin_Tiny_Weights",
    "ResNet_18_Weights",
    "ResNet_34_Weights",
    "ResNet_50_Weights",
    "ResNet_101_Weights",
    "ResNet_152_Weights",
    "Swin_Base_Weights",
    "Swin_Tiny_Weights",
    "WeightEntry",
    "WeightsEnum",
    "apply",
    "get_enum",
    "list_available",
    "read_checkpoint",
    "resolve",
    "write_checkpoint",
]

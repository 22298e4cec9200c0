"""Mask2Former: configuration, network and the eight presets."""

from lucid_mlx.models.vision.mask2former.builders import (
    mask2former_resnet_18,
    mask2former_resnet_34,
    mask2former_resnet_50,
    mask2former_resnet_101,
    mask2former_swin_base,
    mask2former_swin_large,
    mask2former_swin_small,
    mask2former_swin_tiny,
)
from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.model import Mask2Former

__all__ = [
    "Mask2Former",
    "Mask2FormerConfig",
    "mask2former_resnet_18",
    "mask2former_resnet_34",
    "mask2former_resnet_50",
    "mask2former_resnet_101",
    "mask2former_swin_base",
    "mask2former_swin_large",
    "mask2former_swin_small",
    "mask2former_swin_tiny",
]

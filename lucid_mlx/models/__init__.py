"""What lucid calls `lucid.models`: configurations, networks, and builders by name."""

from lucid_mlx.models.registry import create_model, list_models
from lucid_mlx.models.vision.mask2former import (
    Mask2Former,
    Mask2FormerConfig,
    mask2former_resnet_18,
    mask2former_resnet_34,
    mask2former_resnet_50,
    mask2former_resnet_101,
    mask2former_swin_base,
    mask2former_swin_large,
    mask2former_swin_small,
    mask2former_swin_tiny,
)

__all__ = [
    "Mask2Former",
    "Mask2FormerConfig",
    "create_model",
    "list_models",
    "mask2former_resnet_18",
    "mask2former_resnet_34",
    "mask2former_resnet_50",
    "mask2former_resnet_101",
    "mask2former_swin_base",
    "mask2former_swin_large",
    "mask2former_swin_small",
    "mask2former_swin_tiny",
]

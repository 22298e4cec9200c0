"""Backbones: an NHWC image in, four NHWC maps out, and a `channels` attribute with their widths."""

from lucid_mlx.models.vision.backbones.build import Backbone, build_backbone, parse_backbone_config
from lucid_mlx.models.vision.backbones.resnet import ResNet, ResNetConfig
from lucid_mlx.models.vision.backbones.swin import Swin, SwinConfig

__all__ = [
    "Backbone",
    "ResNet",
    "ResNetConfig",
    "Swin",
    "SwinConfig",
    "build_backbone",
    "parse_backbone_config",
]

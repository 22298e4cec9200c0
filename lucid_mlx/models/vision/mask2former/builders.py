"""The eight presets, by lucid's names."""

from os import PathLike
from typing import Any

from lucid_mlx.errors import InputError
from lucid_mlx.models.registry import register_model
from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.model import Mask2Former
from lucid_mlx.weights.fill import fill

Weights = str | PathLike[str] | None
Pretrained = bool | str | PathLike[str]


def _resnet(depths: list[int], hidden_sizes: list[int]) -> dict[str, Any]:
    return {"model_type": "resnet", "depths": depths, "hidden_sizes": hidden_sizes}


def _swin(embed_dim: int, depths: list[int], num_heads: list[int], image_size: int, window: int) -> dict[str, Any]:
    return {
        "model_type": "swin",
        "image_size": image_size,
        "patch_size": 4,
        "num_channels": 3,
        "embed_dim": embed_dim,
        "depths": depths,
        "num_heads": num_heads,
        "window_size": window,
        "drop_path_rate": 0.3,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
        "out_indices": [1, 2, 3, 4],
        "hidden_sizes": [embed_dim * 2**stage for stage in range(4)],
    }


def _build(
    backbone: dict[str, Any],
    num_labels: int,
    pretrained_backbone: Pretrained,
    weights: Weights,
    overrides: dict[str, Any],
) -> Mask2Former:
    if pretrained_backbone is not False and not isinstance(pretrained_backbone, str | PathLike):
        raise InputError(
            "pretrained backbones cannot be downloaded yet: pass pretrained_backbone=False, or the path of a file"
        )
    unknown = sorted(set(overrides) - set(Mask2FormerConfig.__dataclass_fields__))
    if unknown:
        raise InputError(f"Mask2FormerConfig has no field {', '.join(map(repr, unknown))}")
    if "num_channels" in overrides and "num_channels" in backbone:
        backbone = {**backbone, "num_channels": overrides["num_channels"]}
    settings = {"backbone_config": backbone, **overrides}
    model = Mask2Former(Mask2FormerConfig(num_labels, **settings))
    if isinstance(pretrained_backbone, str | PathLike):
        # Imported here because the converter imports the models.
        from lucid_mlx.convert.backbone import read_backbone

        fill(model, read_backbone(pretrained_backbone, settings["backbone_config"]), strict=False)
    return model if weights is None else model.from_pretrained(weights)


@register_model
def mask2former_resnet_18(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a ResNet-18 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([2, 2, 2, 2], [64, 128, 256, 512])
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@register_model
def mask2former_resnet_34(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a ResNet-34 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([3, 4, 6, 3], [64, 128, 256, 512])
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@register_model
def mask2former_resnet_50(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a ResNet-50 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([3, 4, 6, 3], [256, 512, 1024, 2048])
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@register_model
def mask2former_resnet_101(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a ResNet-101 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([3, 4, 23, 3], [256, 512, 1024, 2048])
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@register_model
def mask2former_swin_tiny(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a Swin-T backbone.

    Args:
        num_labels: classes, without "no object".
        pretrained_backbone: the file or folder of an ImageNet classifier to fill the backbone from (see
            `lucid_mlx.convert.backbone.read_backbone`); random weights if False. True is not supported yet.
        weights: a folder written by `lucid-mlx convert` to fill the whole model from; random weights if None.
        config_kwargs: fields of `Mask2FormerConfig` that replace the preset's.

    Raises:
        InputError: if a value, the weights or the backbone's file do not fit.
    """
    backbone = _swin(96, [2, 2, 6, 2], [3, 6, 12, 24], 224, 7)
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@register_model
def mask2former_swin_small(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a Swin-S backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _swin(96, [2, 2, 18, 2], [3, 6, 12, 24], 224, 7)
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@register_model
def mask2former_swin_base(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a Swin-B backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _swin(128, [2, 2, 18, 2], [4, 8, 16, 32], 384, 12)
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@register_model
def mask2former_swin_large(
    num_labels: int, *, pretrained_backbone: Pretrained = False, weights: Weights = None, **config_kwargs: Any
) -> Mask2Former:
    """Build Mask2Former with a Swin-L backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _swin(192, [2, 2, 18, 2], [6, 12, 24, 48], 384, 12)
    return _build(backbone, num_labels, pretrained_backbone, weights, config_kwargs)

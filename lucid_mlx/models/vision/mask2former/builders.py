"""The eight presets, by lucid's names."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec

from lucid_mlx.errors import InputError
from lucid_mlx.models.registry import register_model
from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.model import Mask2Former
from lucid_mlx.ops.evaluate import evaluate
from lucid_mlx.weights import enums
from lucid_mlx.weights.registry import WeightsLike, list_available, resolve

# What `pretrained_backbone=True` fills the backbone from: lucid's file, or where lucid has none of this geometry, the
# original release.
IMAGENET: dict[str, WeightsLike] = {
    "mask2former_resnet_18": enums.ResNet_18_Weights.DEFAULT,
    "mask2former_resnet_34": enums.ResNet_34_Weights.DEFAULT,
    "mask2former_resnet_50": enums.ResNet_50_Weights.DEFAULT,
    "mask2former_resnet_101": enums.ResNet_101_Weights.DEFAULT,
    "mask2former_swin_tiny": enums.Swin_Tiny_Weights.DEFAULT,
    "mask2former_swin_small": "microsoft/swin-small-patch4-window7-224",
    "mask2former_swin_base": "microsoft/swin-base-patch4-window12-384",
    "mask2former_swin_large": "microsoft/swin-large-patch4-window12-384-in22k",
}

LUCID_3_ARGUMENTS = ("pretrained", "num_classes")

Parameters = ParamSpec("Parameters")


def _preset(builder: Callable[Parameters, Mask2Former]) -> Callable[Parameters, Mask2Former]:
    """Register a builder, which answers to lucid 3's arguments with where they belong (a decorator)."""

    @wraps(builder)
    def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Mask2Former:
        if found := [name for name in LUCID_3_ARGUMENTS if name in kwargs]:
            raise InputError(
                f"{' and '.join(found)} are of lucid 3, and these are lucid 2's names: "
                f"lucid_mlx.compat.lucid3.{builder.__name__} takes them; here it is num_labels=150 and "
                'weights="ADE20K_SEMANTIC"'
            )
        return builder(*args, **kwargs)

    return register_model(checked)


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
    name: str,
    backbone: dict[str, Any],
    num_labels: int,
    pretrained_backbone: bool | WeightsLike,
    weights: WeightsLike | None,
    overrides: dict[str, Any],
) -> Mask2Former:
    unknown = sorted(set(overrides) - set(Mask2FormerConfig.__dataclass_fields__))
    if unknown:
        raise InputError(f"Mask2FormerConfig has no field {', '.join(map(repr, unknown))}")
    if "num_channels" in overrides and "num_channels" in backbone:
        backbone = {**backbone, "num_channels": overrides["num_channels"]}
    fields: dict[str, Any] = {"backbone_config": backbone, **overrides}
    if weights is not None:
        return _with_weights(name, num_labels, weights, fields)
    model = Mask2Former(Mask2FormerConfig(num_labels, **fields))
    if pretrained_backbone is not False:
        from lucid_mlx.loading import load_backbone_into  # which builds models; lucid's builders load weights too

        source = IMAGENET[name] if pretrained_backbone is True else pretrained_backbone
        load_backbone_into(model, source, fields["backbone_config"])
    evaluate([model.parameters()])  # so that other threads may use the model
    return model


def _with_weights(name: str, num_labels: int, weights: WeightsLike, fields: dict[str, Any]) -> Mask2Former:
    """Build the network of a checkpoint and load it; `fields` count more than what the checkpoint says."""
    from lucid_mlx.loading import load_checkpoint, load_into  # which builds models; lucid's builders load weights too

    if isinstance(weights, str) and weights.upper() in list_available("mask2former_swin_large"):  # it has every tag
        weights = resolve(weights, model_key=name)
    checkpoint = load_checkpoint(weights)
    source = Mask2FormerConfig.from_dict(checkpoint.config)
    if source.num_labels != num_labels:
        raise InputError(f"the weights have {source.num_labels} classes, and num_labels is {num_labels}")
    model = Mask2Former(replace(source, **fields))
    load_into(model, checkpoint)
    return model


@_preset
def mask2former_resnet_18(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a ResNet-18 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([2, 2, 2, 2], [64, 128, 256, 512])
    return _build("mask2former_resnet_18", backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@_preset
def mask2former_resnet_34(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a ResNet-34 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([3, 4, 6, 3], [64, 128, 256, 512])
    return _build("mask2former_resnet_34", backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@_preset
def mask2former_resnet_50(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a ResNet-50 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([3, 4, 6, 3], [256, 512, 1024, 2048])
    return _build("mask2former_resnet_50", backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@_preset
def mask2former_resnet_101(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a ResNet-101 backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _resnet([3, 4, 23, 3], [256, 512, 1024, 2048])
    return _build("mask2former_resnet_101", backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@_preset
def mask2former_swin_tiny(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a Swin-T backbone.

    Args:
        num_labels: classes, without "no object".
        pretrained_backbone: fill the backbone from an ImageNet classifier: True for the one in `IMAGENET`; or a file
            of torchvision's, timm's, Hugging Face's, lucid's or the original Swin's, by path, name or address.
        weights: fill the whole model: a tag of lucid's registry, a member of an enumeration, or anything that
            `lucid_mlx.load` takes. Their configuration counts, but for the backbone's, which is the preset's.
            Random weights if None.
        **config_kwargs: fields of `Mask2FormerConfig` that count more than both.

    Returns:
        The model, in training mode.

    Raises:
        InputError: if a value or the weights do not fit, or the weights cannot be had.
    """
    backbone = _swin(96, [2, 2, 6, 2], [3, 6, 12, 24], 224, 7)
    return _build("mask2former_swin_tiny", backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@_preset
def mask2former_swin_small(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a Swin-S backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _swin(96, [2, 2, 18, 2], [3, 6, 12, 24], 224, 7)
    return _build("mask2former_swin_small", backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@_preset
def mask2former_swin_base(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a Swin-B backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _swin(128, [2, 2, 18, 2], [4, 8, 16, 32], 384, 12)
    return _build("mask2former_swin_base", backbone, num_labels, pretrained_backbone, weights, config_kwargs)


@_preset
def mask2former_swin_large(
    num_labels: int,
    *,
    pretrained_backbone: bool | WeightsLike = False,
    weights: WeightsLike | None = None,
    **config_kwargs: Any,
) -> Mask2Former:
    """Build Mask2Former with a Swin-L backbone; arguments as `mask2former_swin_tiny`."""
    backbone = _swin(192, [2, 2, 18, 2], [6, 12, 24, 48], 384, 12)
    return _build("mask2former_swin_large", backbone, num_labels, pretrained_backbone, weights, config_kwargs)

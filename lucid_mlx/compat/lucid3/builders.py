"""lucid 3's four builders."""

import difflib
from dataclasses import fields, replace
from typing import Any

from lucid_mlx.compat.lucid3.config import Mask2FormerConfig
from lucid_mlx.compat.lucid3.model import Mask2FormerForSemanticSegmentation
from lucid_mlx.compat.lucid3.weights import (
    Mask2FormerSwinBaseWeights,
    Mask2FormerSwinLargeWeights,
    Mask2FormerSwinSmallWeights,
    Mask2FormerSwinTinyWeights,
    WeightsEnum,
    resolve,
)
from lucid_mlx.errors import InputError
from lucid_mlx.loading import load_into
from lucid_mlx.utils.text import shown

NAMES = ("mask2former_swin_tiny", "mask2former_swin_small", "mask2former_swin_base", "mask2former_swin_large")


def _swin(
    embed_dim: int, depths: tuple[int, ...], num_heads: tuple[int, ...], window_size: int = 7
) -> Mask2FormerConfig:
    return Mask2FormerConfig(
        swin_embed_dim=embed_dim, swin_depths=depths, swin_num_heads=num_heads, swin_window_size=window_size
    )


def _build(
    name: str,
    config: Mask2FormerConfig,
    weights_enum: type[WeightsEnum],
    pretrained: bool | str,
    weights: Any,
    overrides: dict[str, Any],
) -> Mask2FormerForSemanticSegmentation:
    known = [field.name for field in fields(Mask2FormerConfig)]
    for keyword in overrides:
        if keyword not in known:
            near = difflib.get_close_matches(keyword[:100], known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"lucid 3's Mask2FormerConfig has no field {shown(keyword)}{hint}")
    entry = resolve(weights_enum, pretrained, weights)
    model = Mask2FormerForSemanticSegmentation(replace(config, **overrides))
    if entry is not None:
        load_into(model.network, entry.to_registry(name))
    return model


def mask2former_swin_tiny(
    pretrained: bool | str = False, *, weights: Mask2FormerSwinTinyWeights | None = None, **overrides: Any
) -> Mask2FormerForSemanticSegmentation:
    """Build Mask2Former with a Swin-T backbone, for the 150 classes of ADE20K.

    Args:
        pretrained: True for the default weights; or their tag, "ADE20K"; False for random ones.
        weights: a member of `Mask2FormerSwinTinyWeights`, which counts more than `pretrained`.
        **overrides: fields of lucid 3's `Mask2FormerConfig`, such as `num_classes`.

    Returns:
        The model, in training mode.

    Raises:
        InputError: if a value or the weights do not fit, or the weights cannot be had.
    """
    config = _swin(96, (2, 2, 6, 2), (3, 6, 12, 24))
    return _build("mask2former_swin_tiny", config, Mask2FormerSwinTinyWeights, pretrained, weights, overrides)


def mask2former_swin_small(
    pretrained: bool | str = False, *, weights: Mask2FormerSwinSmallWeights | None = None, **overrides: Any
) -> Mask2FormerForSemanticSegmentation:
    """Build Mask2Former with a Swin-S backbone; arguments as `mask2former_swin_tiny`."""
    config = _swin(96, (2, 2, 18, 2), (3, 6, 12, 24))
    return _build("mask2former_swin_small", config, Mask2FormerSwinSmallWeights, pretrained, weights, overrides)


def mask2former_swin_base(
    pretrained: bool | str = False, *, weights: Mask2FormerSwinBaseWeights | None = None, **overrides: Any
) -> Mask2FormerForSemanticSegmentation:
    """Build Mask2Former with a Swin-B backbone; arguments as `mask2former_swin_tiny`."""
    config = _swin(128, (2, 2, 18, 2), (4, 8, 16, 32), 12)
    return _build("mask2former_swin_base", config, Mask2FormerSwinBaseWeights, pretrained, weights, overrides)


def mask2former_swin_large(
    pretrained: bool | str = False, *, weights: Mask2FormerSwinLargeWeights | None = None, **overrides: Any
) -> Mask2FormerForSemanticSegmentation:
    """Build Mask2Former with a Swin-L backbone; arguments as `mask2former_swin_tiny`."""
    config = _swin(192, (2, 2, 18, 2), (6, 12, 24, 48), 12)
    return _build("mask2former_swin_large", config, Mask2FormerSwinLargeWeights, pretrained, weights, overrides)

"""lucid 3's configuration of Mask2Former, and this package's for the same network."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import Any, ClassVar

from lucid_mlx import models
from lucid_mlx.convert.lucid_config import LUCID_3_NAMES, LUCID_3_SWIN, from_lucid3
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path, read_json, write_file
from lucid_mlx.utils.text import shown


@dataclass(frozen=True)
class Mask2FormerConfig:
    """What defines the network and its objective, with lucid 3's names and defaults.

    Attributes:
        num_classes: classes, without "no object".
        in_channels: channels of the image.
        swin_embed_dim: width of the backbone's first stage.
        swin_depths: blocks of each stage.
        swin_num_heads: heads of each stage.
        swin_window_size: side of the attention windows.
        swin_mlp_ratio: hidden width of the MLPs, relative to the stage's.
        d_model: width of the pixel decoder and of the transformer decoder.
        mask_feature_size: width of the mask embedding.
        n_head: heads of every attention outside the backbone.
        num_encoder_layers: deformable attention layers of the pixel decoder.
        encoder_feedforward_dim: hidden width of their feed-forward part.
        num_decoder_layers: predictions of the transformer decoder, one more than its layers.
        dim_feedforward: hidden width of the feed-forward part of these layers.
        dropout: rate while training.
        num_queries: masks that are predicted for an image.
        class_weight: weight of the classification loss and matching cost.
        mask_weight: weight of the mask loss and matching cost.
        dice_weight: weight of the dice loss and matching cost.
        no_object_weight: weight of the "no object" class.
        train_num_points: points at which the mask losses are evaluated.
        oversample_ratio: candidates for each of these points.
        importance_sample_ratio: share of the points taken where the prediction is least certain.
        deep_supervision: supervise every prediction, not just the last.
        num_feature_levels: must be 3.
        feature_strides: strides of the backbone's maps.
        common_stride: stride of the mask features.

    Raises:
        InputError: one error that lists every value that does not fit.
    """

    model_type: ClassVar[str] = "mask2former"

    num_classes: int = 150
    in_channels: int = 3
    swin_embed_dim: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_num_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window_size: int = 7
    swin_mlp_ratio: float = 4.0
    d_model: int = 256
    mask_feature_size: int = 256
    n_head: int = 8
    num_encoder_layers: int = 6
    encoder_feedforward_dim: int = 1024
    num_decoder_layers: int = 10
    dim_feedforward: int = 2048
    dropout: float = 0.0
    num_queries: int = 100
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    train_num_points: int = 12_544
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75
    deep_supervision: bool = True
    num_feature_levels: int = 3
    feature_strides: tuple[int, ...] = (4, 8, 16, 32)
    common_stride: int = 4

    def __post_init__(self) -> None:
        for name in ("swin_depths", "swin_num_heads", "feature_strides"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple):
                raise InputError(f"{name} must be a sequence of whole numbers, got {shown(value)}")
            object.__setattr__(self, name, tuple(value))
        if self.num_feature_levels != 3:
            raise InputError(f"num_feature_levels must be 3, got {shown(self.num_feature_levels)}")
        self.to_network()

    def to_network(self) -> models.Mask2FormerConfig:
        """Return this package's configuration of the same network."""
        return from_lucid3(asdict(self))

    @classmethod
    def from_network(cls, config: models.Mask2FormerConfig) -> "Mask2FormerConfig":
        """Return lucid 3's configuration of a network.

        Args:
            config: of the network.

        Returns:
            The configuration.

        Raises:
            InputError: if lucid 3 has no such network.
        """
        backbone = config.backbone_config or {}
        if backbone.get("model_type") != "swin" or config.feature_size != config.hidden_dim:
            raise InputError("lucid 3's Mask2Former has a Swin backbone, and decoders of one width; this one has not")
        known = {field.name for field in fields(cls)}
        values = {LUCID_3_NAMES.get(field.name, field.name): getattr(config, field.name) for field in fields(config)}
        values |= {f"swin_{name}": backbone[name] for name in LUCID_3_SWIN if name in backbone}
        return cls(**{name: value for name, value in values.items() if name in known})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and `model_type`."""
        return {**asdict(self), "model_type": self.model_type}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> "Mask2FormerConfig":
        """Read what `to_dict` returned; unknown fields are ignored with a warning.

        Args:
            d: the fields.

        Returns:
            The configuration.

        Raises:
            InputError: if a value does not fit.
        """
        if not isinstance(d, Mapping):
            raise InputError(f"the configuration must be a dictionary, got {shown(d)}")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(str(key) for key in d if key not in known and key != "model_type"):
            warnings.warn(f"the configuration has unknown fields, which are ignored: {shown(unknown)}", stacklevel=2)
        return cls(**{key: value for key, value in d.items() if key in known})

    def save(self, path: str | PathLike[str]) -> None:
        """Write the configuration as JSON; the file is whole or not there."""
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"
        write_file(local_path(path), text.encode())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Mask2FormerConfig":
        """Read what `save` wrote."""
        return cls.from_dict(read_json(local_path(path)))

"""From the `backbone_config` dictionary to a backbone."""

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol, cast

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones.resnet import ResNet, ResNetConfig
from lucid_mlx.models.vision.backbones.swin import Swin, SwinConfig
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_values


class Backbone(Protocol):
    """What the network asks of a backbone, beside being an `mlx.nn.Module`."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps."""

    def __call__(self, x: mx.array) -> list[mx.array]:
        """Map (B, H, W, C) to four NHWC maps, finest first."""


_CONFIGS: dict[str, type[SwinConfig] | type[ResNetConfig]] = {"swin": SwinConfig, "resnet": ResNetConfig}

# Keys of lucid's and Hugging Face's dictionaries that say what other keys say already, or change nothing here.
_INFORMATION = {"model_type", "image_size", "hidden_sizes", "out_features", "out_indices"}


def parse_backbone_config(raw: Mapping[str, Any]) -> SwinConfig | ResNetConfig:
    """Check a backbone dictionary and return it as a dataclass.

    Args:
        raw: `model_type` ("swin" or "resnet") and fields of `SwinConfig` or `ResNetConfig`.

    Returns:
        The configuration.

    Raises:
        InputError: for an unknown backbone or key, or values that do not fit.
    """
    if not isinstance(raw, Mapping):
        raise InputError(f"backbone_config must be a dictionary, got {shown(raw)}")
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in _CONFIGS:
        raise InputError(f"backbone_config['model_type'] is one of {sorted(_CONFIGS)}; got {shown(kind)}")
    config_type = _CONFIGS[kind]
    known = {field.name for field in fields(config_type)}
    for key in raw:
        if key not in known | _INFORMATION:
            near = difflib.get_close_matches(shown(key).strip("'"), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {sorted(known)}"
            raise InputError(f"backbone_config has an unknown key {shown(key)} for {kind!r}{hint}")
    if unused := raw.keys() - known - {"model_type"}:  # they are written to files as they are
        kinds = str | int | list[int] | list[str] | None
        check_values(*((f"backbone_config['{key}']", raw[key], kinds) for key in sorted(unused)))
    try:
        return config_type(**{key: value for key, value in raw.items() if key in known})
    except InputError as error:
        raise InputError(f"backbone_config: {error}") from None


def build_backbone(raw: Mapping[str, Any]) -> Backbone:
    """Build a randomly initialized backbone from its dictionary.

    Args:
        raw: as for `parse_backbone_config`.

    Returns:
        The backbone.

    Raises:
        InputError: as `parse_backbone_config`.
    """
    config = parse_backbone_config(raw)
    return cast(Backbone, Swin(config) if isinstance(config, SwinConfig) else ResNet(config))

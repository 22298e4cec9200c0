"""The configuration of Mask2Former, with lucid's fields and defaults."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones import parse_backbone_config
from lucid_mlx.models.vision.mask2former.huggingface_config import fields_from_huggingface, to_huggingface
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_CLASSES, MAX_COUNT, MAX_NAME, Range, check_value, field_problems

ACTIVATIONS = ("relu", "gelu", "silu")
GROUPS = 32  # of every group normalization in the pixel decoder
NUM_LEVELS = 3  # feature maps that the decoders attend to

# What a field may be at least and at most: far above every published network, and a network is still built at once.
RANGES: dict[str, Range] = {
    "num_labels": (1, MAX_CLASSES),
    "feature_size": (1, 4096),
    "mask_feature_size": (1, 4096),
    "hidden_dim": (1, 4096),
    "num_channels": (1, 256),
    "num_queries": (1, 10_000),
    "encoder_layers": (0, 100),
    "encoder_feedforward_dim": (1, 65536),
    "decoder_layers": (1, 100),
    "dim_feedforward": (1, 65536),
    "num_attention_heads": (1, 256),
    "common_stride": (1, 32),
    "dropout": (0, 1),
    "init_std": (0, 1000),
    "init_xavier_std": (0, 1000),
    "class_weight": (0, 1_000_000),
    "mask_weight": (0, 1_000_000),
    "dice_weight": (0, 1_000_000),
    "no_object_weight": (0, 1_000_000),
    "train_num_points": (1, 1_000_000),
    "oversample_ratio": (1, 100),
    "importance_sample_ratio": (0, 1),
}


@dataclass
class Mask2FormerConfig:
    """Everything that defines a Mask2Former network and its training objective.

    Args:
        num_labels: classes, without "no object".
        feature_size: width of the pixel decoder.
        mask_feature_size: width of the mask embedding.
        hidden_dim: width of the transformer decoder.
        backbone_config: `model_type` ("swin" or "resnet") and its shape; None if a backbone is passed to the model.
        num_channels: channels of the image.
        num_queries: masks that are predicted for an image.
        encoder_layers: deformable attention layers of the pixel decoder.
        encoder_feedforward_dim: hidden width of their feed-forward part.
        decoder_layers: predictions of the transformer decoder: one of the queries as learned, one after each of
            its `decoder_layers - 1` layers.
        dim_feedforward: hidden width of the feed-forward part of these layers.
        num_attention_heads: heads of every attention outside the backbone.
        feature_strides: strides of the backbone's maps.
        common_stride: stride of the mask features: 4 adds the finest map, 8 leaves it out.
        enforce_input_projection: project the memories even if `feature_size` equals `hidden_dim`.
        activation_function: of the transformer decoder's feed-forward part: "relu", "gelu" or "silu".
        pre_norm: normalize before each part of a transformer decoder layer instead of after it.
        dropout: rate in the attention and feed-forward parts while training. (transformers also skips whole decoder
            layers at this rate; the original does not, and neither does this.)
        init_std: deviation of the normal initialization.
        init_xavier_std: gain of the Xavier initialization of the transformer decoder.
        dilation: must be False; the reference never dilates its backbones.
        class_weight: weight of the classification loss and matching cost.
        mask_weight: weight of the mask loss and matching cost.
        dice_weight: weight of the dice loss and matching cost.
        no_object_weight: weight of the "no object" class in the classification loss.
        train_num_points: points at which the mask losses are evaluated.
        oversample_ratio: candidates for each of these points.
        importance_sample_ratio: share of the points taken where the prediction is least certain.
        use_auxiliary_loss: supervise every prediction, not just the last.
        output_auxiliary_logits: return the earlier predictions; if None, as `use_auxiliary_loss`.
        output_attentions: return the self-attention weights of the transformer decoder.
        output_hidden_states: return the intermediate states of all parts.

    Raises:
        InputError: one error that lists every value that does not fit.
    """

    num_labels: int

    feature_size: int = 256
    mask_feature_size: int = 256
    hidden_dim: int = 256

    backbone_config: dict[str, Any] | None = None
    num_channels: int = 3
    num_queries: int = 100

    encoder_layers: int = 6
    encoder_feedforward_dim: int = 1024

    decoder_layers: int = 10
    dim_feedforward: int = 2048
    num_attention_heads: int = 8

    feature_strides: list[int] = field(default_factory=lambda: [4, 8, 16, 32])
    common_stride: int = 4
    enforce_input_projection: bool = False

    activation_function: str = "relu"
    pre_norm: bool = False
    dropout: float = 0.0

    init_std: float = 0.02
    init_xavier_std: float = 1.0
    dilation: bool = False

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1

    train_num_points: int = 12544
    oversample_ratio: float = 3.0
    importance_sample_ratio: float = 0.75

    use_auxiliary_loss: bool = True
    output_auxiliary_logits: bool | None = None

    output_attentions: bool = False
    output_hidden_states: bool = False

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise InputError("invalid Mask2FormerConfig: " + "; ".join(problems))
        self._labels = {number: f"LABEL_{number}" for number in range(self.num_labels)}

    @property
    def id2label(self) -> dict[int, str]:
        """Names of the classes, by number; LABEL_0 and so on until it is set. No field: lucid has none.

        After `num_labels` was changed they are LABEL_0 and so on again, as in transformers.
        """
        check_value("num_labels", self.num_labels, int, *RANGES["num_labels"])
        if len(self._labels) != self.num_labels:
            self._labels = {number: f"LABEL_{number}" for number in range(self.num_labels)}
        return self._labels

    @id2label.setter
    def id2label(self, labels: Mapping[int, str]) -> None:
        if not isinstance(labels, Mapping) or set(labels) != set(range(self.num_labels)):
            names = (
                f"it names {len(labels)}: {shown(list(labels)[:8])}" if isinstance(labels, Mapping) else shown(labels)
            )
            raise InputError(
                f"id2label must name the classes 0 to {self.num_labels - 1}; {names}, and num_labels is the number of "
                "classes"
            )
        check_value("the names in id2label", list(labels.values()), list[str | int | float], -MAX_COUNT, MAX_COUNT)
        self._labels = {number: str(labels[number]) for number in range(self.num_labels)}
        if long := [number for number, name in self._labels.items() if len(name) > MAX_NAME]:
            raise InputError(f"id2label must have names of at most {MAX_NAME} characters; class {long[0]} has more")

    def _problems(self) -> list[str]:
        """List what is wrong with the values."""
        problems = field_problems(self, RANGES)
        if problems:
            return problems

        heads = self.num_attention_heads
        for name in ("feature_size", "hidden_dim"):
            size = getattr(self, name)
            if size % heads:
                problems.append(f"num_attention_heads={heads} does not divide {name}={size}")
            if size % 4:
                problems.append(f"{name}={size} must be a multiple of 4 for the sine positions")
        if self.feature_size % GROUPS:
            problems.append(f"feature_size={self.feature_size} must be a multiple of {GROUPS}, the norm's groups")
        if list(self.feature_strides) != [4, 8, 16, 32]:
            problems.append(f"feature_strides must be [4, 8, 16, 32], got {shown(self.feature_strides)}")
        if self.common_stride not in (4, 8):
            problems.append(f"common_stride must be 4 or 8 to fit feature_strides, got {self.common_stride}")
        if self.activation_function not in ACTIVATIONS:
            problems.append(f"activation_function must be one of {ACTIVATIONS}, got {shown(self.activation_function)}")
        if self.dilation:
            problems.append("dilation=True is not supported: the reference networks never dilate")
        if self.dropout >= 1.0:
            problems.append(f"dropout must be below 1, got {self.dropout}")
        if self.backbone_config is not None:
            try:
                backbone = parse_backbone_config(self.backbone_config)
            except InputError as error:
                problems.append(str(error))
            else:
                if self.backbone_config.get("num_channels", self.num_channels) != self.num_channels:
                    problems.append(
                        f"num_channels={self.num_channels} differs from the backbone's {backbone.num_channels}"
                    )
        return problems

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Mask2FormerConfig":
        """Read what `to_dict` wrote; what is not the network's is ignored.

        Args:
            raw: the contents of a `config.json`.

        Returns:
            The configuration.

        Raises:
            InputError: for keys that are missing or unknown, or values that do not fit.
        """
        if not isinstance(raw, Mapping):
            raise InputError(f"the configuration must be a dictionary, got {shown(raw)}")
        known = {item.name for item in fields(cls)}
        values = {
            key: value
            for key, value in raw.items()
            if key not in ("model_type", "id2label", "quantization") and not str(key).startswith("_")
        }
        if unknown := [key for key in values if key not in known]:
            raise InputError(f"the configuration has unknown keys: {', '.join(map(shown, unknown[:8]))}")
        if "num_labels" not in values:
            raise InputError("the configuration lacks num_labels")
        return cls._with_labels(values, raw.get("id2label"))

    @classmethod
    def from_huggingface(cls, raw: Mapping[str, Any]) -> "Mask2FormerConfig":
        """Read the contents of a Hugging Face `config.json`; `id2label` is kept.

        Args:
            raw: the contents.

        Returns:
            The configuration.

        Raises:
            InputError: if it is of another model, or of a network that this package does not build.
        """
        values = fields_from_huggingface(raw, {item.name for item in fields(cls)})
        return cls._with_labels(values, raw.get("id2label"))

    @classmethod
    def _with_labels(cls, values: dict[str, Any], labels: Any) -> "Mask2FormerConfig":
        """Build from fields, and labels as JSON has them: numbers as strings."""
        config = cls(**values)
        if labels is not None:
            config.id2label = _number_labels(labels, config.num_labels)
        return config

    def to_huggingface(self) -> dict[str, Any]:
        """Translate to the contents of a Hugging Face `config.json`, which `from_huggingface` reads back the same.

        Returns:
            Values for JSON.

        Raises:
            InputError: if transformers has no such network.
        """
        return to_huggingface(self)

    def differences(self, other: "Mask2FormerConfig") -> list[str]:
        """List what makes two networks whose parameters have the same shapes compute differently."""
        found = [
            f"{name} is {shown(getattr(other, name))} there and {shown(getattr(self, name))} here"
            for name in ("pre_norm", "activation_function", "num_attention_heads")
            if getattr(self, name) != getattr(other, name)
        ]
        if self.backbone_config is None or other.backbone_config is None:
            return found
        ours, theirs = parse_backbone_config(self.backbone_config), parse_backbone_config(other.backbone_config)
        if type(ours) is not type(theirs):
            return [*found, f"the backbone is a {type(theirs).__name__.removesuffix('Config')} there"]
        for name in ("layer_norm_eps", "downsample_in_bottleneck"):
            if getattr(ours, name, None) != getattr(theirs, name, None):
                found.append(f"{name} of the backbone is {shown(getattr(theirs, name))} there")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and `id2label` as JSON-ready values."""
        labels = {str(key): name for key, name in self.id2label.items()}
        return {"model_type": "mask2former", **asdict(self), "id2label": labels}


def _number_labels(labels: Any, num_labels: int) -> dict[int, Any]:
    """Number the names of classes from 0; if a file numbers them otherwise, in the order of their numbers."""
    if isinstance(labels, list):
        labels = dict(enumerate(labels))
    try:
        numbered = {int(number): name for number, name in labels.items()}
    except (AttributeError, TypeError, ValueError, OverflowError):
        inverted = isinstance(labels, Mapping) and {x: name for name, x in labels.items() if type(x) is int}
        if not inverted or len(inverted) != len(labels):
            raise InputError(f"id2label must map class numbers to names, got {shown(labels, 80)}") from None
        numbered = inverted  # names to numbers, as in label2id
    if len(numbered) != num_labels:
        raise InputError(
            f"id2label must name the classes 0 to {num_labels - 1}; it names {len(numbered)}: "
            f"{shown(list(numbered)[:8])}; convert with --class-names (in Python labels=) to name them"
        )
    order = sorted(numbered)
    if order != list(range(num_labels)):
        warnings.warn(
            f"id2label numbers {num_labels} classes from {order[0]} to {order[-1]}; they are taken in order, as 0 to "
            f"{num_labels - 1}: {shown([numbered[number] for number in order[:3]])}",
            stacklevel=5,
        )
    return {number: numbered[old] for number, old in enumerate(order)}

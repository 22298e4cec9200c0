"""Infer the configuration of a network from the shapes of its parameters, for checkpoints without a config.json."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.config import NUM_LEVELS
from lucid_mlx.models.vision.mask2former.pixel_decoder import POINTS

Shapes = Mapping[str, tuple[int, ...]]


def infer_config(shapes: Shapes) -> Mask2FormerConfig:
    """Infer widths, depths, heads, window size and the numbers of queries and labels from shapes.

    What does not follow from shapes, such as the activation, has the default of `Mask2FormerConfig`, which is the value
    of all published models.

    Args:
        shapes: of the parameters by our names, in torch's layout.

    Returns:
        The configuration.

    Raises:
        InputError: if a parameter that is needed for this is missing.
    """
    with _as_input_errors():
        return _infer(shapes)


def infer_backbone(shapes: Shapes) -> dict[str, Any]:
    """Infer the `backbone_config` of a backbone from shapes.

    Args:
        shapes: of the parameters by our names, in torch's layout.

    Returns:
        What shapes tell; the rest has the defaults of `SwinConfig` or `ResNetConfig`.

    Raises:
        InputError: if a parameter that is needed for this is missing.
    """
    with _as_input_errors():
        return _backbone(shapes)


@contextmanager
def _as_input_errors() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise InputError(f"the configuration cannot be inferred: the checkpoint has no {error.args[0]}") from None
    except (ValueError, IndexError, ZeroDivisionError) as error:  # arrays of another rank, or empty ones
        raise InputError(f"the configuration cannot be inferred: {error}") from error


def _backbone(shapes: Shapes) -> dict[str, Any]:
    return _swin(shapes) if "backbone.patch_embedding.projection.weight" in shapes else _resnet(shapes)


def _infer(shapes: Shapes) -> Mask2FormerConfig:
    queries, hidden = shapes["transformer_decoder.query_features"]
    feature_size = shapes["pixel_decoder.level_embedding"][1]
    encoder_layers = _count(shapes, "pixel_decoder.layers")
    decoder_layers = _count(shapes, "transformer_decoder.layers")
    values: dict[str, Any] = {
        "num_labels": shapes["transformer_decoder.class_head.weight"][0] - 1,
        "feature_size": feature_size,
        "mask_feature_size": shapes["pixel_decoder.mask_projection.weight"][0],
        "hidden_dim": hidden,
        "num_queries": queries,
        "encoder_layers": encoder_layers,
        "decoder_layers": decoder_layers + 1,
        "common_stride": 4 if "pixel_decoder.output.conv.weight" in shapes else 8,
        "enforce_input_projection": feature_size == hidden
        and "transformer_decoder.input_projections.0.weight" in shapes,
    }
    if encoder_layers:
        values["encoder_feedforward_dim"] = shapes["pixel_decoder.layers.0.linear1.weight"][0]
        logits = shapes["pixel_decoder.layers.0.attention.attention_weights.weight"][0]
        values["num_attention_heads"] = logits // (NUM_LEVELS * POINTS)
    if decoder_layers:
        values["dim_feedforward"] = shapes["transformer_decoder.layers.0.linear1.weight"][0]
    backbone = _backbone(shapes)
    return Mask2FormerConfig(**values, num_channels=backbone["num_channels"], backbone_config=backbone)


def _swin(shapes: Shapes) -> dict[str, Any]:
    embed_dim, channels, patch, _ = shapes["backbone.patch_embedding.projection.weight"]
    first = "backbone.stages.0.blocks.0."
    tables = [shapes[f"backbone.stages.{stage}.blocks.0.attention.relative_position_bias_table"] for stage in range(4)]
    return {
        "model_type": "swin",
        "num_channels": channels,
        "patch_size": patch,
        "embed_dim": embed_dim,
        "depths": [_count(shapes, f"backbone.stages.{stage}.blocks") for stage in range(4)],
        "num_heads": [heads for _, heads in tables],
        "window_size": (math.isqrt(tables[0][0]) + 1) // 2,
        "mlp_ratio": shapes[first + "linear1.weight"][0] / embed_dim,
        "qkv_bias": first + "attention.qkv.bias" in shapes,
    }


def _resnet(shapes: Shapes) -> dict[str, Any]:
    stem = _count(shapes, "backbone.stem")
    convolutions = _count(shapes, "backbone.stages.0.0.convs")
    last = f"convs.{convolutions - 1}.conv.weight"
    return {
        "model_type": "resnet",
        "num_channels": shapes["backbone.stem.0.conv.weight"][1],
        "embedding_size": shapes[f"backbone.stem.{stem - 1}.conv.weight"][0],
        "hidden_sizes": [shapes[f"backbone.stages.{stage}.0.{last}"][0] for stage in range(4)],
        "depths": [_count(shapes, f"backbone.stages.{stage}") for stage in range(4)],
        "layer_type": "bottleneck" if convolutions == 3 else "basic",
        "stem": "deep" if stem == 3 else "plain",
    }


def _count(shapes: Shapes, name: str) -> int:
    """Count the modules in a list of modules."""
    prefix = name + "."
    return len({key.removeprefix(prefix).split(".")[0] for key in shapes if key.startswith(prefix)})

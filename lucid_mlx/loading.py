"""Load a checkpoint from any name, file or folder, and load its weights into a network."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx import backends
from lucid_mlx.convert.backbone import PretrainedBackbone, read_backbone
from lucid_mlx.convert.origin import identify_checkpoint
from lucid_mlx.convert.pipeline import convert_in_memory
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.provenance import Provenance
from lucid_mlx.preprocessing.image_config import ImageConfig, published_image_config
from lucid_mlx.utils.parameters import load_parameters
from lucid_mlx.utils.text import shown
from lucid_mlx.weights.checkpoint import CONVERTED_FILES, Checkpoint, is_converted, read_checkpoint
from lucid_mlx.weights.download import download
from lucid_mlx.weights.quantize import dequantized_arrays, quantize_layers
from lucid_mlx.weights.registry import WeightsLike

# The published backbones by type, width of the first stage and depth of the third stage.
_BACKBONE_NAMES: dict[tuple[Any, ...], str] = {
    ("resnet", 256, 6): "resnet_50",
    ("resnet", 256, 23): "resnet_101",
    ("swin", 96, 6): "swin_tiny",
    ("swin", 96, 18): "swin_small",
    ("swin", 128, 18): "swin_base",
    ("swin", 192, 18): "swin_large",
}


def load(
    source: WeightsLike, dtype: mx.Dtype | str | None = None, *, key: str | None = None, ema: bool = False
) -> Mask2Former:
    """Build the model that a checkpoint describes and load its weights, in inference mode.

    Args:
        source: a converted folder; or anything that `lucid_mlx.convert.convert` takes, which is converted in memory: a
            checkpoint of another system, a name on the Hugging Face hub, an address, a registry tag or member.
        dtype: floating-point type of the weights and of the computation, such as "float16" or `mlx.core.float16`; None
            keeps the checkpoint's.
        key: names of what holds the network in a file of another system, such as "state_dict.student"; None to find it.
        ema: take the averaged weights (EMA) where a file has both; by default it is the raw ones.

    Returns:
        The model, with its weights in memory.

    Raises:
        InputError: if the source is not available, incomplete, damaged or inconsistent, or the dtype is not a
            floating-point type.
    """
    return build_model(load_checkpoint(source, key=key, ema=ema), dtype)


def load_checkpoint(weights: WeightsLike, *, key: str | None = None, ema: bool = False) -> Checkpoint:
    """Load a checkpoint of any family under this package's parameter names.

    Args:
        weights: a converted folder; or anything that `lucid_mlx.convert.convert` takes, which is converted in memory.
        key: names of what holds the network in a file of another system; None to find it.
        ema: take the averaged weights (EMA) where a file has both.

    Returns:
        The checkpoint; its arrays are read from disk when they are used.

    Raises:
        InputError: if the weights are not available, incomplete, damaged or inconsistent.
    """
    backends.check_not_forked()
    files = download(weights)
    folder = files.path.parent if files.path.name in CONVERTED_FILES else files.path
    if is_converted(folder):
        if key is not None or ema:
            raise InputError(f"{folder} is converted already, and holds one network: leave out key= and ema=")
        return read_checkpoint(folder)
    return convert_in_memory(files, key=key, ema=ema).to_checkpoint()


def build_model(checkpoint: Checkpoint, dtype: mx.Dtype | str | None = None) -> Mask2Former:
    """Build the model of a checkpoint and load its weights, in inference mode.

    Args:
        checkpoint: with or without quantized layers.
        dtype: floating-point type of the weights and of the computation, such as "float16" or `mlx.core.float16`; None
            keeps the checkpoint's.

    Returns:
        The model, with its weights in memory; quantized layers are dequantized where they would be slow.

    Raises:
        InputError: if the checkpoint is inconsistent, or the dtype is not a floating-point type.
    """
    floating = None if dtype is None else _floating(dtype)
    model = Mask2Former(Mask2FormerConfig.from_dict(checkpoint.config))
    quantization = checkpoint.config.get("quantization")
    if quantization is None:
        load_parameters(model, checkpoint.arrays)
    elif backends.packed_weights_are_fast():
        quantize_layers(model, quantization)
        load_parameters(model, checkpoint.arrays)
    else:
        load_parameters(model, dequantized_arrays(checkpoint))
    if floating is not None:
        model.set_dtype(floating)
    model.eval()
    model.provenance = _provenance(checkpoint)
    # Arrays that are not evaluated belong to this thread; other threads could not use the model.
    mx.eval(model.parameters())
    return model


def _provenance(checkpoint: Checkpoint) -> Provenance:
    metadata = {name: value for name, value in checkpoint.metadata.items() if name != "format"}
    return Provenance(metadata, checkpoint.preprocessor, checkpoint.config.get("quantization"))


def _floating(dtype: mx.Dtype | str) -> mx.Dtype:
    """Return a dtype, given by itself or by its name, if it is a floating-point one."""
    found = getattr(mx, dtype, None) if isinstance(dtype, str) and dtype.isidentifier() else dtype
    if not (isinstance(found, mx.Dtype) and mx.issubdtype(found, mx.floating)):
        raise InputError(f"dtype must be a floating-point type such as mlx.core.float16, got {shown(dtype)}")
    return found


def load_into(model: Mask2Former, weights: WeightsLike | Checkpoint, strict: bool = True) -> None:
    """Load weights into a model, whose mode does not change; `Mask2Former.from_pretrained` calls this.

    Args:
        model: the network. It also gets the checkpoint's class names if it has the same number of classes.
        weights: anything that `load_checkpoint` takes, or a checkpoint.
        strict: require that both have the same parameters. If False, parameters that only one of the two has are
            ignored; shapes must agree in any case.

    Raises:
        InputError: if the weights are not available; or one error that lists all missing, unexpected and mis-shaped
            parameters, or all settings that differ without a difference in shapes. The model is then unchanged.
    """
    checkpoint = weights if isinstance(weights, Checkpoint) else load_checkpoint(weights)
    config = Mask2FormerConfig.from_dict(checkpoint.config)
    if differing := model.config.differences(config):
        raise InputError(f"the weights are of a network that computes differently: {'; '.join(differing)}")
    load_parameters(model, dequantized_arrays(checkpoint), strict=strict)
    mx.eval(model.parameters())
    model.provenance = replace(_provenance(checkpoint), quantization=None)
    if config.num_labels == model.config.num_labels:
        model.config.id2label = config.id2label


def load_backbone_into(model: Mask2Former, weights: WeightsLike, backbone_config: Mapping[str, Any]) -> None:
    """Load the weights of a pretrained image classifier into a model's backbone.

    Args:
        model: the network.
        weights: a path, name or address of a file that `lucid_mlx.convert.backbone.read_backbone` reads.
        backbone_config: of the model.

    Raises:
        InputError: if the weights are not available or do not fit; the model is then unchanged.
    """
    load_parameters(model, load_backbone(weights, backbone_config).arrays, strict=False)
    mx.eval(cast(nn.Module, model.backbone).parameters())


def load_backbone(weights: WeightsLike, backbone_config: Mapping[str, Any] | None = None) -> PretrainedBackbone:
    """Load a pretrained backbone, from which training starts.

    Args:
        weights: a path, name or address of a file that `lucid_mlx.convert.backbone.read_backbone` reads.
        backbone_config: of the model; None for that of the file.

    Returns:
        The backbone.

    Raises:
        InputError: if the weights are not available or do not fit.
    """
    return read_backbone(download(weights).path, backbone_config)


def default_image_config(checkpoint: Checkpoint) -> tuple[ImageConfig, str]:
    """Choose how images are preprocessed for a checkpoint.

    The models on the Hugging Face hub have an image configuration of 384x384, for which no accuracy was published. A
    published checkpoint, which the metadata of its source identify, therefore gets the configuration of its published
    accuracy. A configuration that pads as the original project does, such as one from its YAML, takes precedence.

    Args:
        checkpoint: with its preprocessor and its metadata.

    Returns:
        The image configuration, and a description of it for the user.

    Raises:
        InputError: if the checkpoint's own image configuration cannot be read.
    """
    own = ImageConfig.from_dict(checkpoint.preprocessor) if checkpoint.preprocessor else None
    if own is not None and own.divisor_mode == "pad":
        return own, "the checkpoint's own image configuration"
    dataset = checkpoint.dataset or ""
    published = published_image_config(dataset, _backbone_name(checkpoint.config.get("backbone_config") or {}))
    if published is not None:
        identified = identify_checkpoint(checkpoint.metadata.get("source", ""))
        if identified is not None and identified.dataset == dataset:
            sides = f"shortest side {published.shortest_edge}, longest {published.longest_edge}"
            return published, f"the published test size of {dataset}: {sides}"
    if own is not None:
        return own, "the checkpoint's own image configuration"
    return ImageConfig(), "384x384, as of the models on the Hugging Face hub: the checkpoint does not say"


def _backbone_name(config: Mapping[str, Any]) -> str | None:
    """Return the name of a published backbone, such as "swin_tiny"; None for others."""
    widths = config.get("hidden_sizes") if config.get("model_type") == "resnet" else [config.get("embed_dim")]
    depths = config.get("depths")
    if not widths or not depths or len(depths) != 4:
        return None
    return _BACKBONE_NAMES.get((config["model_type"], widths[0], depths[2]))

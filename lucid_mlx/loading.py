"""From any name, file or folder to a checkpoint, and to a network with its weights."""

from collections.abc import Mapping
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx import backends
from lucid_mlx.convert.backbone import read_backbone
from lucid_mlx.convert.origin import recognize
from lucid_mlx.convert.pipeline import convert_in_memory
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.preprocessing.image_config import ImageConfig, published_image_config
from lucid_mlx.utils.parameters import load_parameters
from lucid_mlx.weights.checkpoint import Checkpoint, is_converted, read_checkpoint
from lucid_mlx.weights.download import download
from lucid_mlx.weights.quantize import apply_record, floating_arrays
from lucid_mlx.weights.registry import WeightsLike

# The type, the width of the first stage and the depth of the third tell the published backbones apart.
_BACKBONES: dict[tuple[Any, ...], str] = {
    ("resnet", 256, 6): "resnet_50",
    ("resnet", 256, 23): "resnet_101",
    ("swin", 96, 6): "swin_tiny",
    ("swin", 96, 18): "swin_small",
    ("swin", 128, 18): "swin_base",
    ("swin", 192, 18): "swin_large",
}


def load(source: WeightsLike, dtype: mx.Dtype | None = None) -> Mask2Former:
    """Build the model that a checkpoint describes and load its weights, in inference mode.

    Args:
        source: a folder written by `lucid-mlx convert`; or what `lucid_mlx.convert.convert` takes, converted in
            memory: a checkpoint of another system, a name on the Hugging Face hub, an address, a registry member.
        dtype: floating-point type to compute in; None keeps the checkpoint's.

    Returns:
        The model, with its weights in memory.

    Raises:
        InputError: if the source cannot be had, is incomplete, damaged or inconsistent, or the dtype is no
            floating-point type.
    """
    return build_model(load_checkpoint(source), dtype)


def load_checkpoint(weights: WeightsLike) -> Checkpoint:
    """Return a checkpoint under this package's names, whatever form it has; others are converted in memory.

    Args:
        weights: a converted folder, or anything that `lucid_mlx.convert.convert` takes.

    Returns:
        The checkpoint; its arrays are read from disk when they are used.

    Raises:
        InputError: as `lucid_mlx.convert.convert`.
    """
    downloaded = download(weights)
    if is_converted(downloaded.path):
        return read_checkpoint(downloaded.path)
    return convert_in_memory(downloaded).checkpoint()


def build_model(checkpoint: Checkpoint, dtype: mx.Dtype | None = None) -> Mask2Former:
    """Build the model of a checkpoint and load its weights, in inference mode.

    Args:
        checkpoint: what to build.
        dtype: floating-point type to compute in; None keeps the checkpoint's.

    Returns:
        The model, with its weights in memory; quantized layers are unpacked where packed ones would be slow.

    Raises:
        InputError: if the checkpoint is inconsistent, or the dtype is no floating-point type.
    """
    if dtype is not None and not (isinstance(dtype, mx.Dtype) and mx.issubdtype(dtype, mx.floating)):
        raise InputError(f"dtype must be a floating-point type such as mlx.core.float16, got {dtype!r}")
    model = Mask2Former(Mask2FormerConfig.from_dict(checkpoint.config))
    record = checkpoint.config.get("quantization")
    if record is None:
        load_parameters(model, checkpoint.arrays)
    elif backends.packed_weights_are_fast():
        apply_record(model, record)
        load_parameters(model, checkpoint.arrays)
    else:
        load_parameters(model, floating_arrays(checkpoint))
    if dtype is not None:
        model.set_dtype(dtype)
    model.eval()
    # Arrays that wait to be read belong to the thread that made them; others could not use the model.
    mx.eval(model.parameters())
    return model


def load_into(model: Mask2Former, weights: WeightsLike | Checkpoint, strict: bool = True) -> None:
    """Load weights of any kind into a model, which keeps its mode; `Mask2Former.from_pretrained` does this.

    Args:
        model: the network; it gets the names of the classes too if it has as many.
        weights: as for `load_checkpoint`, or an opened checkpoint.
        strict: demand that both have the same parameters. If False, those that only one of the two has are left
            alone; shapes must agree all the same.

    Raises:
        InputError: if the weights cannot be had; or one error that lists all missing, unexpected and mis-shaped
            parameters, or the settings that no shape tells and that differ. The model is then unchanged.
    """
    checkpoint = weights if isinstance(weights, Checkpoint) else load_checkpoint(weights)
    source = Mask2FormerConfig.from_dict(checkpoint.config)
    if differing := model.config.differences(source):
        raise InputError(f"the weights are of a network that computes differently: {'; '.join(differing)}")
    load_parameters(model, floating_arrays(checkpoint), strict=strict)
    mx.eval(model.parameters())
    if source.num_labels == model.config.num_labels:
        model.config.id2label = source.id2label


def load_backbone_into(model: Mask2Former, weights: WeightsLike, backbone_config: Mapping[str, Any]) -> None:
    """Load an image classifier's weights into a model's backbone.

    Args:
        model: the network.
        weights: a file, name or address that `lucid_mlx.convert.backbone.read_backbone` reads.
        backbone_config: of the model.

    Raises:
        InputError: if the weights cannot be had or do not fit; the model is then unchanged.
    """
    load_parameters(model, read_backbone(download(weights).path, backbone_config), strict=False)
    mx.eval(cast(nn.Module, model.backbone).parameters())


def default_image_config(checkpoint: Checkpoint) -> tuple[ImageConfig, str]:
    """Choose how a checkpoint's images are prepared.

    The models on the Hugging Face hub come with an image configuration of 384x384, at which nobody measured them. So
    where the source proves that a checkpoint is a published one, this is the configuration of its published accuracy;
    but one that is written as the original project's, as a conversion with its YAML is, counts more.

    Args:
        checkpoint: whose images they are.

    Returns:
        The image configuration, and which it is and why in a few words.

    Raises:
        InputError: if the checkpoint's own image configuration cannot be read.
    """
    own = ImageConfig.from_dict(checkpoint.preprocessor) if checkpoint.preprocessor else None
    if own is not None and own.divide == "pad":
        return own, "the checkpoint's own image configuration"
    dataset = checkpoint.dataset or ""
    published = published_image_config(dataset, _backbone_name(checkpoint.config.get("backbone_config") or {}))
    if published is not None:
        origin = recognize(checkpoint.metadata.get("source", ""))
        if origin is not None and origin.dataset == dataset:
            sides = f"shortest side {published.shortest_edge}, longest {published.longest_edge}"
            return published, f"the published test size of {dataset}: {sides}"
    if own is not None:
        return own, "the checkpoint's own image configuration"
    return ImageConfig(), "384x384, as of the models on the Hugging Face hub: the checkpoint does not say"


def _backbone_name(config: Mapping[str, Any]) -> str | None:
    widths = config.get("hidden_sizes") if config.get("model_type") == "resnet" else [config.get("embed_dim")]
    depths = config.get("depths")
    if not widths or not depths or len(depths) != 4:
        return None
    return _BACKBONES.get((config["model_type"], widths[0], depths[2]))

"""The model with which a training run starts."""

from dataclasses import asdict
from pathlib import Path
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.errors import InputError
from lucid_mlx.loading import default_image_config, load_backbone, load_checkpoint
from lucid_mlx.models import Mask2Former, Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig, parse_size
from lucid_mlx.training.config import NetworkConfig, TrainingConfig
from lucid_mlx.training.gradient_checkpointing import checkpoint_layers
from lucid_mlx.training.imbalance import check_class_names
from lucid_mlx.utils.files import read_json
from lucid_mlx.utils.parameters import load_parameters
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_value
from lucid_mlx.weights.checkpoint import CONFIG_FILE, PREPROCESSOR_FILE, Checkpoint
from lucid_mlx.weights.quantize import dequantized_arrays

CLASS_HEAD = "transformer_decoder.class_head."


def open_data(config: TrainingConfig) -> tuple[Dataset, Dataset | None]:
    """Open the labeled images of a run.

    Args:
        config: the training run.

    Returns:
        Those to train on, and those to validate with, if there are any.

    Raises:
        InputError: if they cannot be opened, or the run could not be evaluated on the second ones; or a class has a
            weight that does not exist.
    """
    dataset = config.train.open()
    check_class_names(config.class_weights, dataset.class_names)
    if config.validation is None:
        return dataset, None
    try:
        validation = config.validation.open()
        if config.reports.evaluate:
            from lucid_mlx.evaluation.evaluate import check_labels

            check_labels(validation, dataset.task, dict(enumerate(dataset.class_names)))
    except InputError as error:
        raise InputError(f"[validation]: {error.args[0]}", *error.args[1:]) from error
    return dataset, validation


def initial_model(
    config: TrainingConfig,
    dataset: Dataset,
    model: Mask2Former | None = None,
    image_config: ImageConfig | None = None,
) -> tuple[Mask2Former, ImageConfig, list[str]]:
    """Take or build the model with the dataset's classes, and load the weights to start from.

    Args:
        config: the training run.
        dataset: the training data.
        model: to train; None to build the one that the configuration describes.
        image_config: how images are normalized; None for what belongs to the weights.

    Returns:
        The model in training mode, with float32 parameters; how its images are prepared; and messages for the user.

    Raises:
        InputError: if the weights cannot be loaded or do not fit the configuration, or the configuration is invalid; or
            the model cannot be trained on this dataset.
    """
    mx.random.seed(config.seed)
    id2label, network = dict(enumerate(dataset.class_names)), config.network
    own: ImageConfig | None = None
    if model is not None:
        messages = _adopt(model, network, id2label)
    elif network.weights is not None:
        checkpoint = load_checkpoint(network.weights)
        model, messages = _from_checkpoint(network, checkpoint, id2label)
        own, _ = default_image_config(checkpoint)
    elif network.backbone_weights is not None:
        model, own, messages = _from_backbone(network, network.backbone_weights, id2label)
    elif "backbone_config" in network.fields:
        model = Mask2Former(Mask2FormerConfig.from_dict({**network.fields, "num_labels": len(id2label)}))
        messages = ["starts from random weights"]
    else:
        raise InputError(
            "there are no weights to start from: pass --weights, such as facebook/mask2former-swin-tiny-coco-panoptic, "
            "or `--weights demo`, which comes with the package and needs no network; or --backbone-weights, such as "
            "microsoft/swin-tiny-patch4-window7-224; or set weights or backbone_weights in [network]. A network that "
            "starts from random weights needs a table [network.fields.backbone_config]"
        )
    model.config.id2label = id2label
    return model, _prepare(model, image_config or own or ImageConfig(), config), messages


def resumed_model(config: TrainingConfig, folder: Path, dataset: Dataset) -> tuple[Mask2Former, ImageConfig]:
    """Build the model of a run that goes on; its weights are in the training state.

    Args:
        config: the training run.
        folder: its output folder.
        dataset: the training data.

    Returns:
        The model in training mode, and how its images are prepared.

    Raises:
        InputError: if the folder lacks the model's files, or the classes of the dataset are others.
    """
    mx.random.seed(config.seed)
    model = Mask2Former(Mask2FormerConfig.from_dict(read_json(folder / CONFIG_FILE)))
    before = tuple(model.config.id2label.values())
    if before != tuple(dataset.class_names):
        raise InputError(
            f"the run in {folder} has other classes: {shown(before, 200)}, and now the labels have "
            f"{shown(tuple(dataset.class_names), 200)}; begin another run with another --output, and "
            f"--weights {folder} to start from what it learned"
        )
    image_config = ImageConfig.from_dict(read_json(folder / PREPROCESSOR_FILE))
    return model, _prepare(model, image_config, config)


def source_of(network: NetworkConfig, model: Mask2Former | None) -> str | None:
    """Return what a run starts from, for the metadata of its model; None for random weights.

    Args:
        network: the configuration of the network.
        model: that the caller has built; None if the configuration describes it.

    Returns:
        A name, or words for it.
    """
    if model is not None:
        return model.provenance.metadata.get("source", "a given model")
    if network.backbone_weights is not None:
        return f"the backbone of {network.backbone_weights}"
    return network.weights


def _prepare(model: Mask2Former, image_config: ImageConfig, config: TrainingConfig) -> ImageConfig:
    """Make a model ready to train; return how its images are prepared."""
    if config.network.freeze_backbone:
        cast(nn.Module, model.backbone).freeze()
    if config.network.gradient_checkpointing:
        checkpoint_layers(model)
    set_training_mode(model, config.network)
    return parse_size(config.network.size or config.sample_size, image_config)


def set_training_mode(model: Mask2Former, config: NetworkConfig) -> None:
    """Put a model into training mode, except for a frozen backbone.

    Args:
        model: the model.
        config: whether the backbone is frozen.
    """
    model.train()
    if config.freeze_backbone:
        cast(nn.Module, model.backbone).eval()


def _adopt(model: Mask2Former, config: NetworkConfig, id2label: dict[int, str]) -> list[str]:
    """Make a model that the caller has built ready to train, in float32."""
    check_value("model", model, Mask2Former)
    described = [name for name in ("weights", "backbone_weights", "fields") if getattr(config, name)]
    if described:
        raise InputError(f"[network] has {' and '.join(described)}, and model= is a network too: leave one of them out")
    if model.config.num_labels != len(id2label):
        raise InputError(
            f"the model is for {model.config.num_labels} classes, and the labels have {len(id2label)}: "
            f"{shown(list(id2label.values()), 200)}"
        )
    if any(isinstance(module, nn.QuantizedLinear) for module in model.modules()):
        raise InputError("a quantized model cannot be trained; load it from weights in floating point")
    model.set_dtype(mx.float32)
    return ["starts from the given model"]


def _from_backbone(
    config: NetworkConfig, weights: str, id2label: dict[int, str]
) -> tuple[Mask2Former, ImageConfig | None, list[str]]:
    """Build a model around a pretrained backbone; return also its normalization, and messages."""
    backbone = load_backbone(weights, config.fields.get("backbone_config"))
    fields = {**config.fields, "backbone_config": backbone.config, "num_labels": len(id2label)}
    model = Mask2Former(Mask2FormerConfig.from_dict(fields))
    load_parameters(model, backbone.arrays, strict=False)
    messages = [f"starts from the backbone of {weights}; the rest of the network has random weights"]
    if backbone.image_config is None:
        messages.append(
            f"{weights} does not say how images are normalized: as for ImageNet, with mean {ImageConfig.mean} and "
            f"standard deviation {ImageConfig.std}; a {PREPROCESSOR_FILE} in its folder says it otherwise"
        )
    return model, backbone.image_config, messages


def _from_checkpoint(
    config: NetworkConfig, checkpoint: Checkpoint, id2label: dict[int, str]
) -> tuple[Mask2Former, list[str]]:
    """Build the model of a checkpoint, with the fields of the configuration and the classes replaced."""
    source = Mask2FormerConfig.from_dict(checkpoint.config)
    model = Mask2Former(Mask2FormerConfig.from_dict({**asdict(source), **config.fields, "num_labels": len(id2label)}))
    arrays = {name: array.astype(mx.float32) for name, array in dequantized_arrays(checkpoint).items()}
    messages = [f"starts from {config.weights}"]
    if source.id2label != id2label:
        head = model.transformer_decoder.class_head.parameters()
        arrays |= {f"{CLASS_HEAD}{name}": array for name, array in head.items()}
        messages.append(
            f"the class head starts from random weights, because the classes differ: {source.num_labels} in the "
            f"checkpoint, {len(id2label)} now"
        )
    try:
        load_parameters(model, arrays)
    except InputError as error:
        raise InputError(f"{config.weights} does not fit [network.fields]: {error}") from error
    return model, messages

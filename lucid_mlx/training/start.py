"""The network with which a training run begins."""

from dataclasses import asdict
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.errors import InputError
from lucid_mlx.loading import default_image_config, load_checkpoint
from lucid_mlx.models import Mask2Former, Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig, parse_size
from lucid_mlx.training.config import NetworkConfig, TrainingConfig
from lucid_mlx.training.gradient_checkpointing import checkpoint_layers
from lucid_mlx.utils.parameters import load_parameters
from lucid_mlx.weights.checkpoint import Checkpoint
from lucid_mlx.weights.quantize import floating_arrays

HEAD = "transformer_decoder.class_head."


def build_network(run: TrainingConfig, dataset: Dataset) -> tuple[Mask2Former, ImageConfig, list[str]]:
    """Build the network, with the dataset's classes, and fill it with the weights to start from.

    Returns:
        The network in training mode, its parameters float32; how its images are normalized; what a user should know.

    Raises:
        InputError: if the weights cannot be had or do not fit the fields, or a field is wrong.
    """
    config = run.network
    mx.random.seed(run.seed)
    labels = dict(enumerate(dataset.names))
    image_config, notes = ImageConfig(), []
    if config.weights is None:
        model = Mask2Former(Mask2FormerConfig.from_dict({**config.fields, "num_labels": len(labels)}))
        notes.append("from random weights")
    else:
        checkpoint = load_checkpoint(config.weights)
        image_config, _ = default_image_config(checkpoint)
        model, notes = _continued(config, checkpoint, labels)
    model.config.id2label = labels
    if config.freeze_backbone:
        cast(nn.Module, model.backbone).freeze()
    if config.gradient_checkpointing:
        checkpoint_layers(model)
    image_config = parse_size(config.size or run.sample_size, image_config)
    train_mode(model, config)
    return model, image_config, notes


def train_mode(model: Mask2Former, config: NetworkConfig) -> None:
    """Put a network into training mode, all but a frozen backbone."""
    model.train()
    if config.freeze_backbone:
        cast(nn.Module, model.backbone).eval()


def _continued(config: NetworkConfig, checkpoint: Checkpoint, labels: dict[int, str]) -> tuple[Mask2Former, list[str]]:
    """Build a network as the checkpoint has it but for the fields and the classes that are given."""
    source = Mask2FormerConfig.from_dict(checkpoint.config)
    model = Mask2Former(Mask2FormerConfig.from_dict({**asdict(source), **config.fields, "num_labels": len(labels)}))
    arrays = {name: array.astype(mx.float32) for name, array in floating_arrays(checkpoint).items()}
    notes = [f"from {config.weights}"]
    if source.id2label != labels:
        head = {f"{HEAD}{name}": array for name, array in model.transformer_decoder.class_head.parameters().items()}
        arrays |= head
        notes.append(f"the classes are others ({len(labels)} now, {source.num_labels} before): the class head is new")
    try:
        load_parameters(model, arrays)
    except InputError as error:
        raise InputError(f"{config.weights} does not fit the fields under [network.fields]: {error}") from error
    return model, notes

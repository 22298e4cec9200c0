"""Gradients through the whole network, in less memory and in half precision.

`nn.value_and_grad` around `forward` works too, but there the matching must compute the logits while MLX traces, when
every array is kept. Here the pairs are filled in after the trace and before anything else is computed.
"""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from lucid_mlx._runtime import ROOM
from lucid_mlx.models.checkpointing import checkpoint
from lucid_mlx.models.layers import BatchNorm, FrozenBatchNorm
from lucid_mlx.models.vision.backbones.resnet import Block
from lucid_mlx.models.vision.backbones.swin import SwinBlock
from lucid_mlx.models.vision.mask2former import criterion
from lucid_mlx.models.vision.mask2former.model import Mask2Former
from lucid_mlx.models.vision.mask2former.pixel_decoder import EncoderLayer
from lucid_mlx.models.vision.mask2former.transformer_decoder import DecoderLayer
from lucid_mlx.weights.fill import named_parameters


def loss_and_gradients(
    model: Mask2Former,
    pixel_values: mx.array,
    mask_labels: list[mx.array],
    class_labels: list[mx.array],
    key: mx.array | None = None,
    dtype: mx.Dtype | None = None,
) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Return what `forward` scores with these labels, and its gradient.

    The logits are computed here; losses and gradients when they are used. Not for use inside `mx.compile`.

    Args:
        model: the network, in training mode or not.
        pixel_values: as `forward` takes them.
        mask_labels: as `forward` takes them.
        class_labels: as `forward` takes them.
        key: as `forward` takes it.
        dtype: compute in this type, with copies of the parameters; parameters, gradients, statistics and losses keep
            theirs. None computes in the parameters' own.

    Returns:
        The weighted losses by name, and the gradient of their sum as a tree like `model.trainable_parameters()`.

    Raises:
        InputError: as `forward`.
    """
    ROOM.lift()
    config, (matching, sampling) = model.config, criterion.sources(key)
    targets = criterion.read_targets(mask_labels, class_labels, len(pixel_values), config.num_labels)
    # All but running statistics, which the forward updates.
    kept = {name: x for name, x in named_parameters(model).items() if not name.endswith(BatchNorm.fixed)}
    matches = criterion.Matches(targets, config, config.decoder_layers if config.use_auxiliary_loss else 1)

    def run(parameters: dict[str, Any]) -> tuple[mx.array, dict[str, mx.array], list[criterion.Prediction]]:
        model.update(parameters)
        if dtype is not None:
            copies = [(name, x.astype(dtype)) for name, x in named_parameters(model).items() if name in kept]
            model.update(tree_unflatten(copies))
        out = model(pixel_values, output_auxiliary_logits=True)
        predictions = criterion.supervised(
            out["masks_queries_logits"], out["class_queries_logits"], out["auxiliary_logits"], config
        )
        losses = criterion.losses(predictions, targets, matches, config)
        return model.get_loss(losses), losses, predictions

    try:
        (_, losses, predictions), gradients = mx.value_and_grad(run)(model.trainable_parameters())
    finally:
        model.update(tree_unflatten([*kept.items()]))
    matches.solve(predictions, matching, sampling)
    return losses, gradients


def checkpoint_layers(model: Mask2Former) -> None:
    """Let every block of the backbone and layer of the decoders run again in the backward pass (`checkpointing`).

    Training then takes about a third more time and less memory. Blocks whose batch norms train stay as they are.
    """
    kinds = (SwinBlock, Block, EncoderLayer, DecoderLayer)
    checkpoint(layer for layer in model.modules() if isinstance(layer, kinds) and not _has_statistics(layer))


def _has_statistics(layer: nn.Module) -> bool:
    return any(isinstance(x, BatchNorm) and not isinstance(x, FrozenBatchNorm) for x in layer.modules())

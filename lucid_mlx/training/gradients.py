"""Losses and their gradients through the whole network, in less memory and in half precision.

`nn.value_and_grad` around `Mask2Former.forward` works too, but there the matching must compute the logits while MLX
traces, when every array of the forward is kept: on a Swin at 256x256, batch 2, that takes twice the memory
(`benchmarks/training_step.py --traced`). Here the graph is built on matches that are still to be found
(`utils/deferred_array.py`): losses and gradients are traced first, then the logits alone are computed and matched, and
the matches written where the graph reads them.
"""

from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from lucid_mlx.models.vision.backbones.resnet import BatchNorm
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.criterion import compute_losses, supervised
from lucid_mlx.models.vision.mask2former.matcher import Match, Prediction, match
from lucid_mlx.models.vision.mask2former.targets import Targets, read_targets
from lucid_mlx.utils.deferred_array import deferred, write
from lucid_mlx.utils.parameters import named_parameters


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
    config = model.config
    targets = read_targets(mask_labels, class_labels, len(pixel_values), config.num_labels)
    # All but running statistics, which the forward updates.
    kept = {name: x for name, x in named_parameters(model).items() if not name.endswith(BatchNorm.fixed)}
    matches = _deferred_matches(targets, config)

    def run(parameters: dict[str, Any]) -> tuple[mx.array, dict[str, mx.array], list[Prediction]]:
        model.update(parameters)
        if dtype is not None:
            copies = [(name, x.astype(dtype)) for name, x in named_parameters(model).items() if name in kept]
            model.update(tree_unflatten(copies))
        out = model(pixel_values, output_auxiliary_logits=True)
        predictions = supervised(
            out["masks_queries_logits"], out["class_queries_logits"], out["auxiliary_logits"], config
        )
        losses = compute_losses(predictions, targets, matches, config)
        return model.get_loss(losses), losses, predictions

    try:
        (_, losses, predictions), gradients = mx.value_and_grad(run)(model.trainable_parameters())
    finally:
        model.update(tree_unflatten([*kept.items()]))
    mx.eval([(x.masks, x.classes) for x in predictions])
    for place, found in zip(matches, match(predictions, targets, config, key), strict=True):
        for name in ("rows", "objects", "points", "labels"):
            write(getattr(place, name), getattr(found, name))
    return losses, gradients


def _deferred_matches(targets: Targets, config: Mask2FormerConfig) -> list[Match]:
    """Return a match for each prediction, to be written later."""
    pairs, points = sum(min(len(x), config.num_queries) for x in targets.classes), config.train_num_points
    return [
        Match(
            deferred((pairs,), mx.int32),
            deferred((pairs,), mx.int32),
            deferred((pairs, points, 2), mx.float32),
            deferred((pairs, points), mx.float32),
        )
        for _ in range(config.decoder_layers if config.use_auxiliary_loss else 1)
    ]

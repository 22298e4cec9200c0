"""Losses and gradients of the whole model, in less memory and in half precision.

`nn.value_and_grad` around `Mask2Former.forward` works too. But there the matching computes the logits while MLX traces,
and MLX then keeps every array of the forward pass: three times the memory on a small Swin at 256x256, batch 2
(`benchmarks/training_step.py --against traced`). Here the graph is built on deferred matches
(`utils/deferred_array.py`): losses and gradients are traced first, then only the logits are computed and matched, and
the matches are written to the arrays that the graph reads.
"""

from typing import Any

import mlx.core as mx
from mlx.utils import tree_unflatten

from lucid_mlx.models.vision.backbones.resnet import BatchNorm
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.criterion import compute_losses, scored_predictions
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
    class_weights: mx.array | None = None,
) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Return the losses of `Mask2Former.forward` and the gradient of their sum.

    The logits are computed here; losses and gradients are lazy. Do not call it inside `mx.compile`.

    Args:
        model: the model, in training mode or not.
        pixel_values: (B, 3, H, W), as `forward` takes them.
        mask_labels: for each image, (N, H, W), as `forward` takes them.
        class_labels: for each image, (N,), as `forward` takes them.
        key: the random key of the sampled points; None draws from `mx.random.state`.
        dtype: the type to compute in, with copies of the parameters. Parameters, gradients, statistics and losses keep
            their own type. None computes in the type of the parameters.
        class_weights: (num_labels,) float32, the weight of each class in the classification loss; None for 1.

    Returns:
        The weighted losses, scalars by name; and the gradient of their sum, a tree with the shapes of
        `model.trainable_parameters()`.

    Raises:
        InputError: as `forward`.
    """
    config = model.config
    targets = read_targets(mask_labels, class_labels, len(pixel_values), config.num_labels)
    # Without running statistics, which the forward pass updates.
    everything = named_parameters(model)
    originals = {name: x for name, x in everything.items() if not name.endswith(BatchNorm.fixed)}
    matches = _deferred_matches(targets, config)

    def run(parameters: dict[str, Any]) -> tuple[mx.array, dict[str, mx.array], list[Prediction]]:
        model.update(parameters)
        if dtype is not None:
            copies = [(name, x.astype(dtype)) for name, x in named_parameters(model).items() if name in originals]
            model.update(tree_unflatten(copies))
        out = model(pixel_values, output_auxiliary_logits=True)
        predictions = scored_predictions(
            out["masks_queries_logits"], out["class_queries_logits"], out["auxiliary_logits"], config
        )
        losses = compute_losses(predictions, targets, matches, config, class_weights)
        return model.get_loss(losses), losses, predictions

    try:
        (_, losses, predictions), gradients = mx.value_and_grad(run)(model.trainable_parameters())
    except BaseException:  # statistics too may be what MLX put there to trace
        originals = everything
        raise
    finally:
        model.update(tree_unflatten([*originals.items()]))
    mx.eval([(x.masks, x.classes) for x in predictions])
    for deferred_match, computed in zip(matches, match(predictions, targets, config, key), strict=True):
        for name in ("rows", "objects", "points", "labels"):
            write(getattr(deferred_match, name), getattr(computed, name))
    return losses, gradients


def _deferred_matches(targets: Targets, config: Mask2FormerConfig) -> list[Match]:
    """Return a match for each prediction whose arrays are written later."""
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

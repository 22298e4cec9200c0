"""Gradient checkpointing (Chen et al. 2016): layers keep just their inputs for the gradient and run again for the rest.

`mx.checkpoint` runs a pure function twice. Two things make a layer one, and this relies on how MLX keeps them, which
`tests/test_gradients.py` checks:

- Its parameters are arguments of the function, and are put back after it. So the layer's class is replaced by one that
  differs in `__call__` alone (Python looks it up on the class): names of parameters stay, as do other layers.
- Its random draws must be the same both times. They split the key in `mx.random.state`, an array that can be
  overwritten in place but not replaced: both runs begin with one key, and the state goes on from another.

It saves a third of the memory of a training step and costs a third of its time (benchmarks/README.md).
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.models.vision.backbones.resnet import BatchNorm, Block, FrozenBatchNorm
from lucid_mlx.models.vision.backbones.swin import SwinBlock
from lucid_mlx.models.vision.mask2former import Mask2Former
from lucid_mlx.models.vision.mask2former.pixel_decoder import EncoderLayer
from lucid_mlx.models.vision.mask2former.transformer_decoder import DecoderLayer


def checkpoint_layers(model: Mask2Former) -> None:
    """Let every block of the backbone and layer of the decoders run again in the backward pass.

    Blocks whose batch norms train stay as they are.

    Args:
        model: the network, changed in place.
    """
    kinds = (SwinBlock, Block, EncoderLayer, DecoderLayer)
    checkpoint(layer for layer in model.modules() if isinstance(layer, kinds) and not _has_statistics(layer))


def checkpoint(layers: Iterable[nn.Module]) -> None:
    """Make layers run again in the backward pass instead of keeping what they computed.

    Args:
        layers: modules that map arrays to arrays and change nothing else: one with running statistics would update
            them twice. Their parameters keep their names.
    """
    for layer in layers:
        layer.__class__ = _checkpointed(type(layer))


def _has_statistics(layer: nn.Module) -> bool:
    return any(isinstance(x, BatchNorm) and not isinstance(x, FrozenBatchNorm) for x in layer.modules())


@cache
def _checkpointed(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a class that is as another but for the gradient of its calls."""
    if hasattr(kind, "is_checkpointed"):
        return kind

    def call(layer: nn.Module, *arguments: Any) -> Any:
        key, following = mx.random.split(_random_key())
        _random_key()[:] = following

        def run(parameters: dict[str, Any], *arguments: Any) -> Any:
            before, state = layer.trainable_parameters(), mx.array(_random_key())
            layer.update(parameters)
            _random_key()[:] = key
            try:
                return kind.__call__(layer, *arguments)
            finally:
                layer.update(before)
                _random_key()[:] = state

        return mx.checkpoint(run)(layer.trainable_parameters(), *arguments)

    return type(kind.__name__, (kind,), {"__call__": call, "is_checkpointed": True})


def _random_key() -> mx.array:
    """The key that the next draw splits."""
    return mx.random.state[0]  # type: ignore[index]

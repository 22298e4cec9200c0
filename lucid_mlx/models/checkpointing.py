"""Gradient checkpointing (Chen et al. 2016): layers keep just their inputs for the gradient and run again for the rest.

`mx.checkpoint` runs a function twice and knows nothing of random draws; here both runs draw the same.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn


def checkpoint(layers: Iterable[nn.Module]) -> None:
    """Make layers run again in the backward pass instead of keeping what they computed.

    Args:
        layers: modules that map arrays to arrays and change nothing else: one with running statistics would update
            them twice. Their parameters keep their names.
    """
    for layer in layers:
        layer.__class__ = _checkpointed(type(layer))


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
    """The key that the next draw splits; it can be overwritten in place, but not replaced."""
    return mx.random.state[0]  # type: ignore[index]

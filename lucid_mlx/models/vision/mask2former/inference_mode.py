"""Switch a network to inference for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.nn as nn


@contextmanager
def inference_mode(model: nn.Module) -> Iterator[None]:
    """Switch every module to inference, and back to the mode that each was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module._set_training_mode(mode)

"""A network for inference, with the batch norms of its ResNet folded into the convolutions before them."""

from copy import copy
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.models.vision.backbones.resnet import ConvNorm
from lucid_mlx.ops import conv2d


class FoldedConvNorm(nn.Module):
    """What a `ConvNorm` does in inference, as one convolution and a shift."""

    def __init__(self, layer: ConvNorm):
        super().__init__()
        self.stride, self.padding = layer.conv.stride[0], layer.conv.padding[0]
        self.weight, self.shift = layer.folded()

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, inputs) to (B, H / stride, W / stride, outputs)."""
        return conv2d(x, self.weight, self.stride, self.padding) + self.shift


class FoldedModel:
    """A copy of a model that shares everything but what was folded, once, not at each forward.

    The model's own parameters stay as they are: they can be exported, and trained.

    Args:
        model: with a member `backbone`; without batch norms it is its own copy.

    Attributes:
        model: the copy.
    """

    def __init__(self, model: Any):
        self._layers: list[tuple[ConvNorm, FoldedConvNorm, list[mx.array]]] = []
        backbone = self._folded(model.backbone)
        self.model = model
        if self._layers:
            self.model = copy(model)
            self.model.backbone = backbone
            mx.eval(backbone.parameters())  # an array that waits to be computed belongs to the thread that made it

    def refresh(self) -> None:
        """Fold again where the model has got new weights."""
        changed = []
        for number, (layer, folded, seen) in enumerate(self._layers):
            now = _arrays(layer)
            if any(one is not other for one, other in zip(now, seen, strict=True)):
                folded.weight, folded.shift = layer.folded()
                changed += [folded.weight, folded.shift]
                self._layers[number] = layer, folded, now
        mx.eval(changed)

    def _folded(self, value: Any) -> Any:
        if isinstance(value, ConvNorm):
            folded = FoldedConvNorm(value)
            self._layers.append((value, folded, _arrays(value)))
            return folded.eval()
        if isinstance(value, list):
            return [self._folded(each) for each in value]
        if isinstance(value, nn.Module):
            before = len(self._layers)
            members = {name: self._folded(each) for name, each in value.items()}
            if len(self._layers) > before:
                value = copy(value)
                dict.update(value, members)
        return value


def _arrays(layer: ConvNorm) -> list[mx.array]:
    norm = layer.norm
    return [layer.conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]

"""ResNet (He et al., CVPR 2016) as a backbone: an image in, the maps of its four stages out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.errors import InputError
from lucid_mlx.ops import conv2d, max_pool
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import Range, field_problems

# What a field, or each of a list, may be at least and at most.
RANGES: dict[str, Range] = {
    "num_channels": (1, 256),
    "embedding_size": (1, 4096),
    "hidden_sizes": (1, 32768),
    "depths": (1, 100),
}


@dataclass(frozen=True)
class ResNetConfig:
    """The shape of a ResNet; the defaults are ResNet-50.

    Attributes:
        num_channels: channels of the image.
        embedding_size: width of the stem.
        hidden_sizes: widths of the stages.
        depths: blocks of each stage.
        layer_type: "basic" or "bottleneck"; if None, "basic" when the first stage is no wider than the stem.
        stem: "plain" (one 7x7 convolution) or "deep" (three 3x3 convolutions, as in detectron2's R101c).
        downsample_in_bottleneck: put the stride in a bottleneck's first 1x1 convolution, not in its 3x3.
        freeze_batch_norm: keep statistics, scales and shifts of batch normalization as they are in training.
    """

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: Sequence[int] = (256, 512, 1024, 2048)
    depths: Sequence[int] = (3, 4, 6, 3)
    layer_type: str | None = None
    stem: str = "plain"
    downsample_in_bottleneck: bool = False
    freeze_batch_norm: bool = True

    def __post_init__(self) -> None:
        if problems := field_problems(self, RANGES):
            raise InputError("; ".join(problems))
        if len(self.hidden_sizes) != 4 or len(self.depths) != 4:
            raise InputError(
                f"a ResNet backbone needs four stages; got hidden_sizes {shown(self.hidden_sizes)} and depths "
                f"{shown(self.depths)}"
            )
        if self.layer_type not in (None, "basic", "bottleneck"):
            raise InputError(f"layer_type is 'basic' or 'bottleneck'; got {shown(self.layer_type)}")
        if self.stem not in ("plain", "deep"):
            raise InputError(f"stem is 'plain' or 'deep'; got {shown(self.stem)}")
        if self.bottleneck and any(size % 4 for size in self.hidden_sizes):
            raise InputError(f"a bottleneck's width is a quarter; got hidden_sizes {list(self.hidden_sizes)}")

    @property
    def bottleneck(self) -> bool:
        """Whether blocks are bottlenecks."""
        if self.layer_type is None:
            return self.hidden_sizes[0] > self.embedding_size
        return self.layer_type == "bottleneck"


class BatchNorm(nn.BatchNorm):
    """Batch normalization; in inference a single scale and shift by the running statistics."""

    fixed: tuple[str, ...] = ("running_mean", "running_var")
    """The parameters that are never trainable."""

    @property
    def _no_grad(self) -> set[str]:
        # `unfreeze` on a module above empties this set, so what is fixed comes back at each look.
        self._frozen.update(self.fixed)
        return self._frozen

    @_no_grad.setter
    def _no_grad(self, names: set[str]) -> None:
        self._frozen = names

    def __call__(self, x: mx.array) -> mx.array:
        """Normalize (B, H, W, C)."""
        if self.training:
            return super().__call__(x)
        scale, shift = self.affine()
        return x * scale + shift

    def affine(self) -> tuple[mx.array, mx.array]:
        """Return the scale and the shift of inference, (C,) each, in the dtype of `weight`."""
        dtype = self.weight.dtype
        scale = self.weight * mx.rsqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return scale.astype(dtype), shift.astype(dtype)


class FrozenBatchNorm(BatchNorm):
    """Batch normalization that never trains: running statistics always, scale and shift fixed."""

    fixed = ("weight", "bias", "running_mean", "running_var")

    def __init__(self, channels: int):
        super().__init__(channels)
        self._training = False

    def _set_training_mode(self, mode: bool) -> None:
        """Stay in inference."""


class ConvNorm(nn.Module):
    """A convolution without bias, padded to keep the size, and batch normalization."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, frozen: bool):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        # Kaiming normal, fan out (He et al. 2015), as the reference initializes.
        std = math.sqrt(2.0 / (outputs * kernel * kernel))
        self.conv.weight = mx.random.normal(self.conv.weight.shape, scale=std)
        self.norm = FrozenBatchNorm(outputs) if frozen else BatchNorm(outputs)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, inputs) to (B, H / stride, W / stride, outputs)."""
        weight, stride, padding = self.conv.weight, self.conv.stride[0], self.conv.padding[0]
        if self.norm.training:
            return self.norm(conv2d(x, weight, stride, padding))
        # Folded into the convolution, the norm costs two passes over the weights instead of two over the map. They
        # are folded anew each time: the weights stay what a checkpoint has, and can be trained.
        weight, shift = self.folded()
        return conv2d(x, weight, stride, padding) + shift

    def folded(self) -> tuple[mx.array, mx.array]:
        """Return the kernel that includes the norm's scale in inference, and the shift, (outputs,)."""
        scale, shift = self.norm.affine()
        return self.conv.weight * scale[:, None, None, None], shift


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a 1x1, 3x3, 1x1 bottleneck."""

    def __init__(self, inputs: int, outputs: int, stride: int, config: ResNetConfig):
        super().__init__()
        frozen = config.freeze_batch_norm
        if config.bottleneck:
            width = outputs // 4
            strides = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
            self.convs = [
                ConvNorm(inputs, width, 1, strides[0], frozen),
                ConvNorm(width, width, 3, strides[1], frozen),
                ConvNorm(width, outputs, 1, 1, frozen),
            ]
        else:
            self.convs = [
                ConvNorm(inputs, outputs, 3, stride, frozen),
                ConvNorm(outputs, outputs, 3, 1, frozen),
            ]
        self.shortcut: ConvNorm | None = None
        if inputs != outputs or stride != 1:
            self.shortcut = ConvNorm(inputs, outputs, 1, stride, frozen)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, inputs) to (B, H / stride, W / stride, outputs)."""
        y = x
        for conv in self.convs[:-1]:
            y = nn.relu(conv(y))
        y = self.convs[-1](y)
        return nn.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """The ResNet backbone."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config = config
        frozen, width = config.freeze_batch_norm, config.embedding_size
        if config.stem == "plain":
            self.stem = [ConvNorm(config.num_channels, width, 7, 2, frozen)]
        else:
            self.stem = [
                ConvNorm(config.num_channels, width // 2, 3, 2, frozen),
                ConvNorm(width // 2, width // 2, 3, 1, frozen),
                ConvNorm(width // 2, width, 3, 1, frozen),
            ]
        self.stages = []
        for stage, (outputs, depth) in enumerate(zip(config.hidden_sizes, config.depths, strict=True)):
            blocks = [Block(width, outputs, 1 if stage == 0 else 2, config)]
            blocks += [Block(outputs, outputs, 1, config) for _ in range(depth - 1)]
            self.stages.append(blocks)
            width = outputs

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps."""
        return tuple(self.config.hidden_sizes)

    def __call__(self, x: mx.array) -> list[mx.array]:
        """Return the maps at strides 4, 8, 16 and 32.

        Args:
            x: (B, H, W, num_channels).

        Returns:
            Four arrays (B, H / stride, W / stride, channels[i]), sizes rounded up.
        """
        for conv in self.stem:
            x = nn.relu(conv(x))
        x = max_pool(x)
        maps = []
        for blocks in self.stages:
            for block in blocks:
                x = block(x)
            maps.append(x)
        return maps

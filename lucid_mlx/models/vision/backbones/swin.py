"""Swin Transformer (Liu et al., ICCV 2021) as a backbone: an image in, the normalized maps of its stages out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.ops import (
    LayerNorm,
    Linear,
    conv2d,
    feed_forward,
    gelu,
    initialize_normal,
    window_attention,
    window_merge,
    window_partition,
)
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import Range, field_problems

# The reference's additive mask between windows that the shift brought together: not -inf.
MASKED = -100.0

# What a field, or each of a list, may be at least and at most.
RANGES: dict[str, Range] = {
    "num_channels": (1, 256),
    "patch_size": (1, 64),
    "embed_dim": (1, 4096),
    "depths": (1, 100),
    "num_heads": (1, 256),
    "window_size": (1, 32),
    "mlp_ratio": (0, 64),
    "drop_path_rate": (0, 1),
    "layer_norm_eps": (0, 1),
}


@dataclass(frozen=True)
class SwinConfig:
    """The shape of a Swin Transformer; the defaults are Swin-T.

    Attributes:
        num_channels: channels of the image.
        patch_size: side of the patches that become tokens, in pixels.
        embed_dim: width of the first stage; each further stage doubles it.
        depths: blocks of each stage.
        num_heads: attention heads of each stage.
        window_size: side of the attention windows, in tokens.
        mlp_ratio: hidden width of the feed-forward part, in widths of its stage.
        qkv_bias: add a bias to queries, keys and values.
        drop_path_rate: rate of stochastic depth in the last block; it rises from 0 in the first.
        layer_norm_eps: added to the variance in every layer normalization.
    """

    num_channels: int = 3
    patch_size: int = 4
    embed_dim: int = 96
    depths: Sequence[int] = (2, 2, 6, 2)
    num_heads: Sequence[int] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.3
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if problems := field_problems(self, RANGES):
            raise InputError("; ".join(problems))
        if len(self.depths) != 4 or len(self.num_heads) != 4:
            raise InputError(
                f"a Swin backbone needs four stages; got depths {shown(self.depths)} and num_heads "
                f"{shown(self.num_heads)}"
            )
        if int(self.mlp_ratio * self.embed_dim) < 1:
            raise InputError(f"mlp_ratio must make the MLP's hidden width at least 1, got {self.mlp_ratio}")
        if self.drop_path_rate >= 1.0 or self.layer_norm_eps <= 0.0:
            raise InputError("drop_path_rate must be below 1, and layer_norm_eps above 0")
        for dim, heads in zip(self.channels, self.num_heads, strict=True):
            if dim % heads:
                raise InputError(
                    f"num_heads {list(self.num_heads)} of the Swin backbone must divide the widths of its "
                    f"stages, {list(self.channels)}"
                )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps."""
        return tuple(self.embed_dim * 2**stage for stage in range(4))


@lru_cache(maxsize=8)
def relative_position_index(window: int) -> mx.array:
    """Return which row of the bias table each pair of tokens in a window reads, (window^4,) int32, by (row, column)."""
    rows, columns = (axis.reshape(-1) for axis in np.mgrid[:window, :window])
    down = rows[:, None] - rows[None] + window - 1
    right = columns[:, None] - columns[None] + window - 1
    return mx.array((down * (2 * window - 1) + right).reshape(-1).astype(np.int32))


@lru_cache(maxsize=32)
def shift_regions(height: int, width: int, window: int, shift: int) -> mx.array:
    """Number the parts of a shifted map that belong together.

    Args:
        height: of the map.
        width: of the map.
        window: rows and columns of a window.
        shift: rows and columns by which the map is shifted.

    Returns:
        (windows, window^2) int32.
    """

    def regions(size: int) -> np.ndarray:
        padded = -(-size // window) * window
        position = np.arange(padded)
        return (position >= padded - window).astype(np.int32) + (position >= padded - shift)

    rows, columns = regions(height), regions(width)
    region = (rows[:, None] * 3 + columns).reshape(len(rows) // window, window, len(columns) // window, window)
    return mx.array(region.transpose(0, 2, 1, 3).reshape(-1, window * window))


def shift_mask(height: int, width: int, window: int, shift: int) -> mx.array:
    """Return the mask that keeps the parts of a shifted map apart.

    Args:
        height: of the map.
        width: of the map.
        window: rows and columns of a window.
        shift: rows and columns by which the map is shifted.

    Returns:
        (windows, window^2, window^2) float32, added to the scores.
    """
    regions = shift_regions(height, width, window, shift)
    return mx.where(regions[:, :, None] != regions[:, None, :], MASKED, 0.0)


class WindowAttention(nn.Module):
    """Attention among the tokens of a window, with a learned bias for each relative position."""

    def __init__(self, dim: int, heads: int, window: int, qkv_bias: bool):
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.projection = Linear(dim, dim)
        self.relative_position_bias_table = mx.zeros(((2 * window - 1) ** 2, heads))

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        """Attend within windows.

        Args:
            x: (B, windows, window^2, C).
            mask: (windows, window^2, window^2), added to the scores; nothing if None.

        Returns:
            (B, windows, window^2, C).
        """
        return window_attention(x, self.qkv, self.projection, self.heads, self.relative_position_bias(), mask)

    def relative_position_bias(self) -> mx.array:
        """Return what is added to the scores of each pair of tokens, (heads, window^2, window^2)."""
        bias = self.relative_position_bias_table[relative_position_index(self.window)]
        return bias.reshape(self.window**2, self.window**2, self.heads).transpose(2, 0, 1)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a residual branch for a random part of the batch (Huang et al. 2016)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def __call__(self, x: mx.array) -> mx.array:
        """Drop or rescale each of the B branches in (B, ...)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = mx.random.bernoulli(1.0 - self.rate, (x.shape[0], *[1] * (x.ndim - 1)))
        return x * (keep / (1.0 - self.rate)).astype(x.dtype)


class SwinBlock(nn.Module):
    """Window attention, shifted by half a window in every other block, and an MLP, each with a residual."""

    def __init__(self, dim: int, heads: int, shift: int, drop_path: float, config: SwinConfig):
        super().__init__()
        self.window, self.shift = config.window_size, shift
        hidden = int(config.mlp_ratio * dim)
        self.norm1 = LayerNorm(dim, eps=config.layer_norm_eps)
        self.attention = WindowAttention(dim, heads, config.window_size, config.qkv_bias)
        self.norm2 = LayerNorm(dim, eps=config.layer_norm_eps)
        self.linear1 = Linear(dim, hidden)
        self.linear2 = Linear(hidden, dim)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, C) to the same shape."""
        x, normalized = self.norm2.with_sum(x, self.drop_path(self._attend(self.norm1(x))))
        return x + self.drop_path(feed_forward(normalized, self.linear1, self.linear2, gelu))

    def _attend(self, x: mx.array) -> mx.array:
        # Windows are padded after the norm: the padding is zero where attention reads it. A map no larger than a window
        # is shifted too, as in the reference.
        size = (x.shape[1], x.shape[2])
        mask = shift_mask(*size, self.window, self.shift) if self.shift else None
        windows = window_partition(x, self.window, self.shift)
        return window_merge(self.attention(windows, mask), size, self.window, self.shift)


def pad_to_multiples(x: mx.array, multiple: int) -> mx.array:
    """Append zeros at the bottom and at the right.

    Args:
        x: (B, H, W, C).
        multiple: that H and W of the result are multiples of.

    Returns:
        (B, height, width, C).
    """
    down, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    return mx.pad(x, [(0, 0), (0, down), (0, right), (0, 0)]) if down or right else x


class PatchMerging(nn.Module):
    """Halve a map: four neighbors become one token of twice the width."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = LayerNorm(4 * dim)
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, C) to (B, ceil(H / 2), ceil(W / 2), 2 C)."""
        x = pad_to_multiples(x, 2)
        batch, height, width, dim = x.shape
        blocks = x.reshape(batch, height // 2, 2, width // 2, 2, dim)
        # Order of the block as the published weights expect it: (0, 0), (1, 0), (0, 1), (1, 1).
        merged = blocks.transpose(0, 1, 3, 4, 2, 5).reshape(batch, height // 2, width // 2, 4 * dim)
        return self.reduction(self.norm(merged))


class PatchEmbedding(nn.Module):
    """Non-overlapping patches, projected and normalized."""

    def __init__(self, config: SwinConfig):
        super().__init__()
        self.patch = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.embed_dim, self.patch, self.patch)
        self.norm = LayerNorm(config.embed_dim)

    def __call__(self, x: mx.array) -> mx.array:
        """Map (B, H, W, num_channels) to (B, ceil(H / patch), ceil(W / patch), embed_dim)."""
        x = pad_to_multiples(x, self.patch)
        return self.norm(conv2d(x, self.projection.weight, self.patch) + self.projection.bias)


class SwinStage(nn.Module):
    """Blocks at one resolution, and the merging that leads to the next."""

    def __init__(self, stage: int, drop_paths: Sequence[float], config: SwinConfig):
        super().__init__()
        dim, heads = config.channels[stage], config.num_heads[stage]
        shifts = (0, config.window_size // 2)
        self.blocks = [SwinBlock(dim, heads, shifts[i % 2], rate, config) for i, rate in enumerate(drop_paths)]
        self.downsample = PatchMerging(dim) if stage < 3 else None


class Swin(nn.Module):
    """The Swin backbone."""

    def __init__(self, config: SwinConfig):
        super().__init__()
        self.config = config
        self.patch_embedding = PatchEmbedding(config)
        total, first = sum(config.depths), 0
        self.stages, self.norms = [], []
        for stage, depth in enumerate(config.depths):
            rates = [config.drop_path_rate * i / max(total - 1, 1) for i in range(first, first + depth)]
            self.stages.append(SwinStage(stage, rates, config))
            self.norms.append(LayerNorm(config.channels[stage]))
            first += depth
        initialize_normal(self, 0.02)  # as the reference starts

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps."""
        return self.config.channels

    def __call__(self, x: mx.array) -> list[mx.array]:
        """Return the maps at strides 4, 8, 16 and 32 (with patches of 4).

        Args:
            x: (B, H, W, num_channels).

        Returns:
            Four arrays (B, H / stride, W / stride, channels[i]), sizes rounded up at each halving.
        """
        x = self.patch_embedding(x)
        maps = []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            for block in stage.blocks:
                x = block(x)
            maps.append(norm(x))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps

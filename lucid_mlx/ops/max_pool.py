"""The pooling between a ResNet's stem and its stages."""

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.backends import accelerated


@accelerated
def max_pool(x: mx.array) -> mx.array:
    """Return the largest of each 3x3 neighborhood at every other row and column.

    Args:
        x: (B, H, W, C).

    Returns:
        (B, ceil(H / 2), ceil(W / 2), C).
    """
    pooled: mx.array = nn.MaxPool2d(3, stride=2, padding=1)(x)
    return pooled

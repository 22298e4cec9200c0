"""The operations that a GPU computes in its own way; the others are as `ops` defines them."""

from collections.abc import Mapping

from lucid_mlx.backends.dispatch import Implementation
from lucid_mlx.backends.gpu.convolution import conv2d
from lucid_mlx.backends.gpu.deformable_attention import deformable_attention
from lucid_mlx.backends.window_gather import window_merge, window_partition

OPERATIONS: Mapping[str, Implementation] = {
    "conv2d": Implementation(conv2d),
    "multi_scale_deformable_attention": Implementation(deformable_attention),
    "window_merge": Implementation(window_merge),
    "window_partition": Implementation(window_partition),
}

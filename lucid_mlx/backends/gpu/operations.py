"""The operations that a GPU computes in its own way; the others are as `ops` defines them."""

from collections.abc import Mapping

from lucid_mlx.backends.dispatch import Implementation
from lucid_mlx.backends.gpu.add_layer_norm import add_layer_norm
from lucid_mlx.backends.gpu.attention import attention, window_attention
from lucid_mlx.backends.gpu.convolution import conv2d
from lucid_mlx.backends.gpu.deformable_attention import deformable_attention
from lucid_mlx.backends.gpu.group_norm import group_norm_affine
from lucid_mlx.backends.gpu.max_pool import max_pool
from lucid_mlx.backends.window_gather import window_merge, window_partition

OPERATIONS: Mapping[str, Implementation] = {
    "add_layer_norm": Implementation(add_layer_norm),
    "attention": Implementation(attention),
    "conv2d": Implementation(conv2d),
    "group_norm_affine": Implementation(group_norm_affine),
    "max_pool": Implementation(max_pool),
    "multi_scale_deformable_attention": Implementation(deformable_attention),
    "window_attention": Implementation(window_attention),
    "window_merge": Implementation(window_merge),
    "window_partition": Implementation(window_partition),
}

"""The operations that MLX lacks or that a backend computes in its own way: plain definitions, one idea a file."""

from lucid_mlx.ops.attention import attention, attention_weights
from lucid_mlx.ops.clip import check_clip, computed_in_turn, frames_that_fit
from lucid_mlx.ops.convolution import conv2d
from lucid_mlx.ops.deformable_attention import multi_scale_deformable_attention
from lucid_mlx.ops.evaluate import evaluate
from lucid_mlx.ops.gelu import gelu
from lucid_mlx.ops.group_norm import GroupNorm, group_norm, group_norm_affine
from lucid_mlx.ops.linear import LayerNorm, Linear, add_layer_norm, feed_forward, initialize_normal, layer_norm, linear
from lucid_mlx.ops.mask_sampling import mask_losses, mask_matching_cost, sample_matched_masks
from lucid_mlx.ops.matmul import matmul
from lucid_mlx.ops.max_pool import max_pool
from lucid_mlx.ops.point_sample import point_sample
from lucid_mlx.ops.resize import resize_map, resize_planes
from lucid_mlx.ops.row_sum import row_sum
from lucid_mlx.ops.sigmoid import sigmoid
from lucid_mlx.ops.sine_positions import sine_positions
from lucid_mlx.ops.softmax import softmax
from lucid_mlx.ops.softplus import softplus_and_sigmoid
from lucid_mlx.ops.window_attention import window_attention, window_merge, window_partition

__all__ = [
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "add_layer_norm",
    "attention",
    "attention_weights",
    "check_clip",
    "computed_in_turn",
    "conv2d",
    "evaluate",
    "feed_forward",
    "frames_that_fit",
    "gelu",
    "group_norm",
    "group_norm_affine",
    "initialize_normal",
    "layer_norm",
    "linear",
    "mask_losses",
    "mask_matching_cost",
    "matmul",
    "max_pool",
    "multi_scale_deformable_attention",
    "point_sample",
    "resize_map",
    "resize_planes",
    "row_sum",
    "sample_matched_masks",
    "sigmoid",
    "sine_positions",
    "softmax",
    "softplus_and_sigmoid",
    "window_attention",
    "window_merge",
    "window_partition",
]

"""The primitives that MLX lacks, one idea a file. Nothing here imports the rest of the package."""

from lucid_mlx.ops.convolution import conv2d
from lucid_mlx.ops.deformable_attention import multi_scale_deformable_attention
from lucid_mlx.ops.gelu import gelu
from lucid_mlx.ops.group_norm import group_norm
from lucid_mlx.ops.max_pool import max_pool
from lucid_mlx.ops.point_sample import point_sample
from lucid_mlx.ops.reduce import reduce_rows
from lucid_mlx.ops.resize import resize_map, resize_planes
from lucid_mlx.ops.sigmoid import sigmoid
from lucid_mlx.ops.sine_positions import sine_positions
from lucid_mlx.ops.softmax import softmax
from lucid_mlx.ops.softplus import softplus_and_sigmoid
from lucid_mlx.ops.streams import in_parts, queue, start

__all__ = [
    "conv2d",
    "gelu",
    "group_norm",
    "in_parts",
    "max_pool",
    "multi_scale_deformable_attention",
    "point_sample",
    "queue",
    "reduce_rows",
    "resize_map",
    "resize_planes",
    "sigmoid",
    "sine_positions",
    "softmax",
    "softplus_and_sigmoid",
    "start",
]

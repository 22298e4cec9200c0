"""The operations that a CPU computes in its own way; the others are as `ops` defines them."""

from collections.abc import Mapping

import mlx.core as mx

from lucid_mlx.backends.cpu import (
    convolution,
    deformable_attention,
    gelu,
    layers,
    max_pool,
    reduction,
    sigmoid,
    softmax,
    softplus,
    window_attention,
)
from lucid_mlx.backends.cpu.parallel import evaluate_in_rounds, in_next_stream
from lucid_mlx.backends.dispatch import Implementation
from lucid_mlx.backends.window_gather import window_merge, window_partition

FLOAT32 = (mx.float32,)

OPERATIONS: Mapping[str, Implementation] = {
    "attention": Implementation(layers.attention),
    "conv2d": Implementation(convolution.conv2d),
    "evaluate": Implementation(evaluate_in_rounds),
    "feed_forward": Implementation(layers.by_token),
    "gelu": Implementation(gelu.gelu, FLOAT32),
    "layer_norm": Implementation(layers.by_token),
    "linear": Implementation(layers.by_token),
    "mask_losses": Implementation(layers.mask_losses),
    "mask_matching_cost": Implementation(in_next_stream),
    "matmul": Implementation(layers.matmul),
    "max_pool": Implementation(max_pool.max_pool),
    "multi_scale_deformable_attention": Implementation(deformable_attention.deformable_attention),
    "point_sample": Implementation(layers.point_sample),
    "resize_by_weights": Implementation(layers.resize_by_weights),
    "row_sum": Implementation(reduction.row_sum),
    "sample_matched_masks": Implementation(in_next_stream),
    "sigmoid": Implementation(sigmoid.sigmoid, FLOAT32),
    "softmax": Implementation(softmax.softmax, FLOAT32),
    "softplus_and_sigmoid": Implementation(softplus.softplus_and_sigmoid, FLOAT32),
    "window_attention": Implementation(window_attention.window_attention, FLOAT32),
    "window_merge": Implementation(window_merge),
    "window_partition": Implementation(window_partition),
}

"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021, eq. 3)."""

import mlx.core as mx

from lucid_mlx.ops.deformable_kernel import deformable_attention_kernel
from lucid_mlx.ops.deformable_kernel_check import usable
from lucid_mlx.ops.deformable_plain import deformable_attention_plain
from lucid_mlx.ops.deformable_samples import Levels
from lucid_mlx.ops.deformable_sparse import deformable_attention_sparse
from lucid_mlx.ops.streams import on_cpu


def multi_scale_deformable_attention(
    value: mx.array, levels: Levels, locations: mx.array, weights: mx.array
) -> mx.array:
    """Sum bilinear samples of several feature maps, weighted by attention.

    Args:
        value: (B, S, heads, D), the maps of all levels, flattened row by row and concatenated.
        levels: the height and width of each level, in the order of `value`; the areas add up to S.
        locations: (B, Q, heads, levels, points, 2) as (x, y); 0 and 1 are the outer borders of a map. Samples
            outside are zero, those near a border mix with zeros.
        weights: (B, Q, heads, levels, points).

    Returns:
        (B, Q, heads * D) in the dtype of `value`. Differentiable in `value`, `locations` and `weights`.
    """
    if on_cpu():
        return deformable_attention_sparse(value, levels, locations, weights)
    if usable(value, locations, deformable_attention_plain):
        return deformable_attention_kernel(value, levels, locations, weights)
    return deformable_attention_plain(value, levels, locations, weights)

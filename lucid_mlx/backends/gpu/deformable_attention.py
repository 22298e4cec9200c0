"""Multi-scale deformable attention on a GPU: the fused kernel where this machine's has passed the self-check."""

from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends.gpu.deformable_kernel import Levels, deformable_attention_kernel
from lucid_mlx.backends.gpu.self_check import usable


def deformable_attention(
    definition: Callable[..., mx.array], value: mx.array, levels: Levels, locations: mx.array, weights: mx.array
) -> mx.array:
    """Compute `ops.multi_scale_deformable_attention`; arguments and result as there."""
    compute = deformable_attention_kernel if usable(value, locations, definition) else definition
    return compute(value, levels, locations, weights)

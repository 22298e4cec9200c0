"""Multi-scale deformable attention on the CPU: a sparse product, or gathered corners where gradients are traced."""

from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends.cpu.deformable_gather import sum_by_gather
from lucid_mlx.backends.cpu.deformable_samples import Levels, place_samples
from lucid_mlx.backends.cpu.deformable_sparse import sum_by_sparse_product
from lucid_mlx.backends.cpu.process import MEMORY
from lucid_mlx.backends.evaluation import start

# An image has this many pixels for each position of the levels, whose strides are 8, 16 and 32.
_PIXELS = 1024 / 21


def deformable_attention(
    definition: Callable[..., mx.array], value: mx.array, levels: Levels, locations: mx.array, weights: mx.array
) -> mx.array:
    """Compute `ops.multi_scale_deformable_attention`; arguments and result as there.

    Outside of a trace this computes what the network has built so far: the one place where a forward begins to run,
    so that the memory limit is fitted here.
    """
    samples = place_samples(value, levels, locations, weights)
    MEMORY.fit(round(_PIXELS * value.shape[0] * value.shape[1]), levels)  # which all layers of a forward share
    if start(*samples[:3]):
        sums = sum_by_sparse_product(samples)
    else:
        MEMORY.lift()
        sums = sum_by_gather(samples)
    return sums.reshape(*weights.shape[:2], -1)

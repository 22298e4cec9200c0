"""Matrix products."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def matmul(a: mx.array, b: mx.array) -> mx.array:
    """Return the matrix product.

    Args:
        a: (..., N, K).
        b: (..., K, M).

    Returns:
        (..., N, M).
    """
    return a @ b

"""Random numbers."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def random_uniform(shape: tuple[int, ...], key: mx.array | None = None) -> mx.array:
    """Draw uniform numbers from 0 to 1.

    Args:
        shape: of the result.
        key: to draw from; None for `mx.random.state`.

    Returns:
        float32 numbers of that shape.
    """
    return mx.random.uniform(shape=shape, key=key)

"""The network compiled as a whole, for each shape of its input."""

from collections.abc import Callable
from functools import lru_cache

import mlx.core as mx

from lucid_mlx.models.vision.mask2former import Mask2Former

KEPT = 16  # shapes; recipes make all sides multiples of 32, so that a folder of photos has few


def compiled(model: Mask2Former) -> Callable[[mx.array], dict[str, mx.array]]:
    """Return the model's forward, compiled when a shape is first seen; inference alone.

    On a GPU that fuses what lies between the products. On the CPU it gains nothing: the ops have loops of their own,
    which a compiler that sees across them takes apart. MLX keeps what it has compiled forever; here the shape that was
    not used for longest is forgotten beyond `KEPT`. New weights in the model are seen.

    Args:
        model: in inference mode.

    Returns:
        A function of (B, num_channels, H, W) that returns `class_queries_logits` and `masks_queries_logits`.
    """
    names = ("class_queries_logits", "masks_queries_logits")

    @lru_cache(maxsize=KEPT)
    def for_shape(shape: tuple[int, ...]) -> Callable[[mx.array], dict[str, mx.array]]:
        def forward(pixels: mx.array) -> dict[str, mx.array]:
            outputs = model(pixels)
            return {name: outputs[name] for name in names}

        run: Callable[[mx.array], dict[str, mx.array]] = mx.compile(forward, inputs=model.state)
        return run

    return lambda pixels: for_shape(pixels.shape)(pixels)

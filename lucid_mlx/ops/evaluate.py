"""Compute results that do not depend on each other."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def evaluate(results: Sequence[Any]) -> None:
    """Compute arrays, or trees of them, that do not depend on each other.

    Args:
        results: the arrays, of any shapes, in the order in which the operations that they come from were called.
    """
    mx.eval(results)

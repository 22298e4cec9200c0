"""Functions with a gradient of their own."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx


class WithGradient:
    """A function of arrays that MLX differentiates as it is told to.

    Args:
        function: called with arrays, and whatever else it takes.
        gradient: called with the function's arguments as a tuple, the gradient of its output and the output; returns
            a gradient for each argument that is an array.
    """

    def __init__(self, function: Callable[..., Any], gradient: Callable[..., Any]):
        self.function = function
        self._differentiable: Any = mx.custom_function(function)
        self._differentiable.vjp(gradient)

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self._differentiable(*args)

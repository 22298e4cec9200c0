"""From the definition of an operation to the fastest way to compute it on the device at hand."""

from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import Any, NamedTuple, ParamSpec, TypeVar

import mlx.core as mx

from lucid_mlx.backends.device import device
from lucid_mlx.backends.worker import enter_thread

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Implementation(NamedTuple):
    """How a backend computes an operation.

    Attributes:
        function: called with the operation's definition and then its arguments, all by position.
        dtypes: of the first argument that it handles; any if None.
    """

    function: Callable[..., Any]
    dtypes: tuple[mx.Dtype, ...] | None = None


def accelerated(definition: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a backend compute an operation, if it has a way for the device and the dtype; a decorator.

    Args:
        definition: the operation in plain MLX. Its name is what backends list it by.

    Returns:
        The operation; `__wrapped__` is the definition.
    """
    name = definition.__name__

    @wraps(definition)
    def operation(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        enter_thread()
        implementation = operations().get(name)
        if implementation is None:
            return definition(*args, **kwargs)
        arguments: tuple[Any, ...] = args
        if kwargs:
            bound = signature(definition).bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = bound.args
        if implementation.dtypes is not None and arguments[0].dtype not in implementation.dtypes:
            return definition(*args, **kwargs)
        result: Result = implementation.function(definition, *arguments)
        return result

    return operation


def operations() -> Mapping[str, Implementation]:
    """Return what the device's backend computes in its own way, by name."""
    table: Mapping[str, Implementation] = import_module(f"lucid_mlx.backends.{device()}.operations").OPERATIONS
    return table

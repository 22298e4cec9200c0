"""Put arrays into a model: everything is checked before anything changes."""

from collections.abc import Mapping
from typing import cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from lucid_mlx.errors import InputError

LISTED = 100  # names of each kind in an error; more would hide the others


def named_parameters(model: nn.Module) -> dict[str, mx.array]:
    """Return the model's parameters, running statistics included, by their dotted names."""
    return dict(cast(list[tuple[str, mx.array]], tree_flatten(model.parameters())))


def load_parameters(model: nn.Module, arrays: Mapping[str, mx.array], strict: bool = True) -> None:
    """Replace the model's parameters by arrays of the same names and shapes.

    Args:
        model: the model to fill.
        arrays: by parameter name.
        strict: demand that both have the same names. (Shapes must agree in any case.)

    Raises:
        InputError: one error that lists all missing, unexpected and mis-shaped names; the model is unchanged.
    """
    wanted = {name: tuple(array.shape) for name, array in named_parameters(model).items()}
    problems = shape_problems(wanted, {name: tuple(array.shape) for name, array in arrays.items()}, strict)
    expected = {name for name, array in named_parameters(model).items() if mx.issubdtype(array.dtype, mx.floating)}
    problems += listing("not of a floating-point type", [name for name in not_floating(arrays) if name in expected])
    if problems:
        raise InputError("the weights do not fit the model: " + "; ".join(problems))
    model.update(tree_unflatten([(name, array) for name, array in arrays.items() if name in wanted]))


def not_floating(arrays: Mapping[str, mx.array]) -> list[str]:
    """Name the arrays that hold integers or bools."""
    return [name for name, array in arrays.items() if not mx.issubdtype(array.dtype, mx.floating)]


def shape_problems(
    wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]], strict: bool
) -> list[str]:
    """List how `given` fails to be exactly `wanted`, one phrase a kind of failure."""
    problems = []
    if strict:
        problems += listing("missing", [name for name in wanted if name not in given])
        problems += listing("unexpected", sorted(name for name in given if name not in wanted))
    wrong = [
        f"{name} is {list(given[name])}, expected {list(shape)}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    return problems + listing("of another shape", wrong)


def listing(kind: str, names: list[str]) -> list[str]:
    """Return one phrase that counts and names the offenders, or nothing if there are none."""
    if not names:
        return []
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return [f"{len(names)} {kind}: {', '.join(names[:LISTED])}{more}"]

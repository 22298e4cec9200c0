"""A model's parameters by name: list them, compare them with arrays, and load arrays into them."""

from collections.abc import Mapping
from typing import cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from lucid_mlx.errors import InputError

MAX_LENGTH = 150  # of a name in an error message; those of real checkpoints have up to 110 characters
MAX_NAMES = 100  # of each problem in an error message; more would hide the other problems

Shape = tuple[int, ...]


def named_parameters(model: nn.Module) -> dict[str, mx.array]:
    """Return a model's parameters and running statistics by their dotted names; names and shapes are the model's."""
    return dict(cast(list[tuple[str, mx.array]], tree_flatten(model.parameters())))


def load_parameters(model: nn.Module, arrays: Mapping[str, mx.array], strict: bool = True) -> None:
    """Replace a model's parameters by arrays of the same names and shapes; check all before changing any.

    Args:
        model: the model.
        arrays: by parameter name.
        strict: require that model and arrays have the same names. Shapes must agree in any case.

    Raises:
        InputError: one error that lists all missing, unexpected and mis-shaped names; the model is unchanged.
    """
    parameters = named_parameters(model)
    expected = {name: tuple(array.shape) for name, array in parameters.items()}
    problems = shape_problems(expected, {name: tuple(array.shape) for name, array in arrays.items()}, strict)
    floating = parameters.keys() - set(not_floating(parameters))
    wrong_type = [name for name in not_floating(arrays) if name in floating]
    problems += count_and_list("not of a floating-point type", wrong_type)
    if problems:
        raise InputError("the weights do not fit the model: " + "; ".join(problems))
    model.update(tree_unflatten([(name, array) for name, array in arrays.items() if name in parameters]))


def not_floating(arrays: Mapping[str, mx.array]) -> list[str]:
    """Return the names of the arrays that are not of a floating-point type."""
    return [name for name, array in arrays.items() if not mx.issubdtype(array.dtype, mx.floating)]


def shape_problems(expected: Mapping[str, Shape], given: Mapping[str, Shape], strict: bool) -> list[str]:
    """List the differences between the expected and the given names and shapes.

    Args:
        expected: the shape of every parameter by name.
        given: the shape of every array by name.
        strict: also list names that only one of the two has.

    Returns:
        One phrase for each kind of difference.
    """
    problems = []
    if strict:
        problems += count_and_list("missing", [name for name in expected if name not in given])
        problems += count_and_list("unexpected", sorted(name for name in given if name not in expected))
    mismatches = [
        f"{name} is {list(given[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in given and given[name] != shape
    ]
    return problems + count_and_list("of another shape", mismatches)


def count_and_list(problem: str, names: list[str]) -> list[str]:
    """Count and list the names that have a problem, such as "2 missing: a, b".

    Args:
        problem: what is wrong with them.
        names: all that have the problem; the first `MAX_NAMES` are listed.

    Returns:
        A list with one phrase, or an empty one if there are no names.
    """
    if not names:
        return []
    more = f", and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return [f"{len(names)} {problem}: {', '.join(name[:MAX_LENGTH] for name in names[:MAX_NAMES])}{more}"]

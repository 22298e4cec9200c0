"""What a call of the model may be given: arrays of other libraries, and keywords that it does not know."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown


def as_array(name: str, value: Any) -> mx.array:
    """Return an array of NumPy, or of what NumPy reads, as one of MLX.

    Args:
        name: of the argument, for the message.
        value: an array of MLX or NumPy, or a torch tensor in the CPU's memory.

    Returns:
        The array, in the same shape; float64 becomes float32.

    Raises:
        InputError: if it is no array of numbers.
    """
    if isinstance(value, mx.array):
        return value
    if not hasattr(value, "__array__"):
        raise InputError(f"{name} must be an array of MLX or NumPy, got {shown(value)}")
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its type is {array.dtype}")
        return mx.array(array)
    except (TypeError, ValueError, RuntimeError) as error:  # torch: RuntimeError for a tensor that needs gradients
        raise InputError(f"{name} must be an array of numbers in the CPU's memory: {error}") from None


def warn_of_unknown(unknown: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Warn of keywords that are ignored, and name the known ones that they may be a misspelling of.

    Args:
        unknown: the keywords.
        function: that knows the others; it is what calls this.
    """
    if not unknown:
        return
    names = list(inspect.signature(function).parameters)
    told = []
    for keyword in unknown:
        near = difflib.get_close_matches(keyword[:100], names, n=1, cutoff=0.75)
        told.append(shown(keyword) + (f" (did you mean {near[0]}?)" if near else ""))
    warnings.warn(f"{function.__name__} takes no argument {', '.join(told)}; ignored, as in lucid", stacklevel=3)

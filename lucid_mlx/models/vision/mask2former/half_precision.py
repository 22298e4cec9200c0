"""What to do about numbers that are too large for half precision: compute again in float32."""

from collections.abc import Iterable
from copy import deepcopy
from typing import TypeVar

import mlx.core as mx
import mlx.nn as nn

Model = TypeVar("Model", bound=nn.Module)


def overflowed(logits: Iterable[mx.array], dtype: mx.Dtype) -> bool:
    """Return whether logits that were computed in some type are not finite, though float32 may have room for them.

    Args:
        logits: any arrays; they are computed.
        dtype: the type.

    Returns:
        False for float32, without looking.
    """
    return dtype != mx.float32 and not all(mx.isfinite(each).all().item() for each in logits)


def in_float32(model: Model) -> Model:
    """Return a copy of a model that computes in float32."""
    copy = deepcopy(model)
    copy.set_dtype(mx.float32)
    return copy


def overflow_warning(dtype: mx.Dtype) -> str:
    """Return what to tell the user."""
    kind = str(dtype).removeprefix("mlx.core.")
    return f'{kind} overflowed, so that float32 was used; dtype="float32" is faster'

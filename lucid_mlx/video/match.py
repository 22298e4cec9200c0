"""Follow the queries of a network from frame to frame."""

from typing import cast

import mlx.core as mx
import numpy as np
from scipy.optimize import linear_sum_assignment

from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown


def match_queries(previous: mx.array, current: mx.array) -> mx.array:
    """Find which query of a frame continues each query of the frame before (MinVIS, Huang et al. 2022, section 3.2).

    All queries are assigned, so that the sum of the cosine similarities of their embeddings is the largest possible.

    Args:
        previous: (Q, C), the embeddings of the queries of the frame before, in any order that is to be kept: the
            queries after the decoder's last norm.
        current: (Q, C), those of this frame.

    Returns:
        (Q,) int32, a permutation: `current[permutation]` follows `previous`.

    Raises:
        InputError: if they are not two arrays of one shape, or hold NaN or infinite values.
    """
    one, other = _unit_rows("previous", previous), _unit_rows("current", current)
    if one.shape != other.shape:
        raise InputError(
            f"previous and current must have one shape (queries, channels), got {one.shape}, {other.shape}"
        )
    _, permutation = linear_sum_assignment(one @ other.T, maximize=True)
    return mx.array(permutation.astype(np.int32))


def _unit_rows(name: str, embeddings: mx.array) -> np.ndarray:
    """Return embeddings as float64 of length 1; zeros stay zeros."""
    if not isinstance(embeddings, mx.array | np.ndarray) or embeddings.ndim != 2:
        raise InputError(
            f"{name} must be an array (queries, channels), got {shown(getattr(embeddings, 'shape', embeddings))}"
        )
    values = np.array(mx.array(embeddings).astype(mx.float32)).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds NaN or infinite values; check the weights and the pixels")
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return cast(np.ndarray, values / np.maximum(lengths, np.finfo(np.float64).tiny))

"""From a folder to a model that is ready to run."""

from os import PathLike

import mlx.core as mx

from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.weights.checkpoint import Checkpoint, read_checkpoint
from lucid_mlx.weights.fill import fill


def load(source: str | PathLike[str], dtype: mx.Dtype | None = None) -> Mask2Former:
    """Build the model that a converted folder describes and fill it, in inference mode.

    Args:
        source: a folder written by `lucid-mlx convert`.
        dtype: floating-point type to compute in; None keeps the folder's.

    Returns:
        The model. Its arrays are read from disk when they are first used.

    Raises:
        InputError: if the folder is incomplete, damaged or inconsistent, or the dtype is no floating-point type.
    """
    return build(read_checkpoint(source), dtype)


def build(checkpoint: Checkpoint, dtype: mx.Dtype | None = None) -> Mask2Former:
    """Build the model of an opened folder; otherwise as `load`."""
    if dtype is not None and not (isinstance(dtype, mx.Dtype) and mx.issubdtype(dtype, mx.floating)):
        raise InputError(f"dtype must be a floating-point type such as mlx.core.float16, got {dtype!r}")
    model = Mask2Former(Mask2FormerConfig.from_dict(checkpoint.config))
    fill(model, checkpoint.arrays)
    if dtype is not None:
        model.set_dtype(dtype)
    model.eval()
    return model

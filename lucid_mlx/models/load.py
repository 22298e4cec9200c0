"""From a folder to a model that is ready to run."""

from os import PathLike

import mlx.core as mx

from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.weights.checkpoint import read_checkpoint
from lucid_mlx.weights.fill import fill


def load(source: str | PathLike[str], dtype: mx.Dtype | None = None) -> Mask2Former:
    """Build the model that a converted folder describes and fill it, in inference mode.

    Args:
        source: a folder written by `lucid-mlx convert`.
        dtype: floating-point type to compute in; None keeps the folder's.

    Returns:
        The model. Its arrays are read from disk when they are first used.

    Raises:
        InputError: if the folder is incomplete, damaged or inconsistent.
    """
    checkpoint = read_checkpoint(source)
    model = Mask2Former(Mask2FormerConfig.from_dict(checkpoint.config))
    fill(model, checkpoint.arrays)
    if dtype is not None:
        model.set_dtype(dtype)
    model.eval()
    return model

"""From weights of any kind to a model that is ready to run."""

import mlx.core as mx
from mlx.utils import tree_flatten

from lucid_mlx._runtime import ROOM
from lucid_mlx.convert.pipeline import obtain
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.weights.address import Weights
from lucid_mlx.weights.checkpoint import Checkpoint
from lucid_mlx.weights.fill import fill
from lucid_mlx.weights.quantize import apply_record, floating_arrays


def load(source: Weights, dtype: mx.Dtype | None = None) -> Mask2Former:
    """Build the model that a checkpoint describes and fill it, in inference mode.

    Args:
        source: a folder written by `lucid-mlx convert`; or what `lucid_mlx.convert.convert` takes, converted in
            memory: a checkpoint of another system, a name on the Hugging Face hub, an address, a registry member.
        dtype: floating-point type to compute in; None keeps the checkpoint's.

    Returns:
        The model. Its arrays are read from disk when they are first used.

    Raises:
        InputError: if the source cannot be had, is incomplete, damaged or inconsistent, or the dtype is no
            floating-point type.
    """
    return build(obtain(source), dtype)


def build(checkpoint: Checkpoint, dtype: mx.Dtype | None = None) -> Mask2Former:
    """Build the model of an opened checkpoint; otherwise as `load`.

    Quantised layers compute on packed weights on a GPU. On the CPU they are unpacked: MLX's packed products are tens
    of times slower there than those of floats.
    """
    if dtype is not None and not (isinstance(dtype, mx.Dtype) and mx.issubdtype(dtype, mx.floating)):
        raise InputError(f"dtype must be a floating-point type such as mlx.core.float16, got {dtype!r}")
    model = Mask2Former(Mask2FormerConfig.from_dict(checkpoint.config))
    record = checkpoint.config.get("quantization")
    if record is not None and mx.default_device().type == mx.DeviceType.gpu:
        apply_record(model, record)
        fill(model, checkpoint.arrays)
    else:
        fill(model, floating_arrays(checkpoint))
    if dtype is not None:
        model.set_dtype(dtype)
    model.eval()
    ROOM.add(sum(weights.nbytes for weights in dict(tree_flatten(model.parameters())).values()))
    return model

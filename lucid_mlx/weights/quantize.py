"""Linear layers in 4 or 8 bits: which of them, and there and back."""

import re
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.errors import InputError
from lucid_mlx.weights.checkpoint import Checkpoint

BITS = (4, 8)
GROUP_SIZES = (32, 64, 128)

# Measured part by part (benchmarks/precision.py --parts): what is named is five sixths of the weights and loses the
# least for its size. Patch merging, the pixel decoder and the heads are few weights that every mask depends on.
_BLOCKS = re.compile(r"backbone\.stages\.\d+\.blocks\..+|transformer_decoder\.layers\..+")


def quantize(model: nn.Module, bits: int, group_size: int) -> dict[str, Any]:
    """Quantize the layers of a model that bear it, in place.

    Kept as they are: what is no linear layer, what is too narrow for the groups, and what is outside of `_BLOCKS`.

    Args:
        model: in floating point.
        bits: 4 or 8.
        group_size: weights that share a scale: 32, 64 or 128.

    Returns:
        The record for `config.json`: `bits`, `group_size` and the names of the `layers`.

    Raises:
        InputError: for other bits or group sizes.
    """
    if bits not in BITS or group_size not in GROUP_SIZES:
        raise InputError(
            f"bits must be one of {BITS} and the group size one of {GROUP_SIZES}; got {bits}, {group_size}"
        )
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _BLOCKS.fullmatch(name) and module.weight.shape[1] % group_size == 0
    ]
    record = {"bits": bits, "group_size": group_size, "layers": sorted(layers)}
    apply_record(model, record)
    return record


def apply_record(model: nn.Module, record: Mapping[str, Any]) -> None:
    """Make the layers of a record quantized ones, in place; their weights are those of the layers they replace.

    Raises:
        InputError: if the record is damaged, or does not fit the model.
    """
    try:
        layers, bits, group_size = set(record["layers"]), int(record["bits"]), int(record["group_size"])
        nn.quantize(model, group_size, bits, class_predicate=lambda name, module: name in layers)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the configuration's record of quantized layers is damaged: {error}") from error
    missing = layers - {name for name, module in model.named_modules() if isinstance(module, nn.QuantizedLinear)}
    if missing:
        raise InputError(
            f"the configuration names quantized layers that the model has not: {', '.join(sorted(missing))}"
        )


def floating_arrays(checkpoint: Checkpoint) -> dict[str, mx.array]:
    """Return the arrays of a checkpoint in floating point; those of quantized layers are unpacked.

    Raises:
        InputError: if the record of quantized layers does not fit the arrays.
    """
    arrays, record = dict(checkpoint.arrays), checkpoint.config.get("quantization")
    if record is None:
        return arrays
    try:
        bits, group_size = int(record["bits"]), int(record["group_size"])
        for layer in record["layers"]:
            weight, scales, biases = (arrays.pop(f"{layer}.{name}") for name in ("weight", "scales", "biases"))
            arrays[f"{layer}.weight"] = mx.dequantize(weight, scales, biases, group_size=group_size, bits=bits)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the record of quantized layers does not fit the weights: {error}") from error
    return arrays

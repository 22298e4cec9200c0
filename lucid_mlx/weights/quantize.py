"""Quantization of linear layers to 4 or 8 bits: which layers, quantize and dequantize."""

import re
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lucid_mlx.errors import InputError
from lucid_mlx.weights.checkpoint import Checkpoint

BITS = (4, 8)
GROUP_SIZES = (32, 64, 128)

# The layers that are quantized: five sixths of the weights, with the smallest loss of accuracy for their size
# (benchmarks/precision.py --parts). Patch merging, the pixel decoder and the heads are few weights that every mask
# depends on.
_QUANTIZED_LAYERS = re.compile(r"backbone\.stages\.\d+\.blocks\..+|transformer_decoder\.layers\..+")


def quantize(model: nn.Module, bits: int, group_size: int) -> dict[str, Any]:
    """Quantize the linear layers of the Swin blocks and of the transformer decoder layers, in place.

    Layers whose input size is not a multiple of the group size stay in floating point.

    Args:
        model: in floating point.
        bits: per weight, 4 or 8.
        group_size: number of weights that share a scale and a bias, 32, 64 or 128.

    Returns:
        The entry "quantization" for `config.json`: `bits`, `group_size` and the names of the `layers`.

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
        if isinstance(module, nn.Linear)
        and _QUANTIZED_LAYERS.fullmatch(name)
        and module.weight.shape[1] % group_size == 0
    ]
    quantization = {"bits": bits, "group_size": group_size, "layers": sorted(layers)}
    quantize_layers(model, quantization)
    return quantization


def quantize_layers(model: nn.Module, quantization: Mapping[str, Any]) -> None:
    """Replace layers by quantized layers, in place; their weights are quantized too.

    Args:
        model: in floating point.
        quantization: the entry "quantization" of `config.json`, as `quantize` returns it.

    Raises:
        InputError: if the entry is damaged, or does not fit the model.
    """
    try:
        layers = set(quantization["layers"])
        bits, group_size = int(quantization["bits"]), int(quantization["group_size"])
        nn.quantize(model, group_size, bits, class_predicate=lambda name, module: name in layers)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the configuration's quantization is damaged: {error}") from error
    missing = layers - {name for name, module in model.named_modules() if isinstance(module, nn.QuantizedLinear)}
    if missing:
        raise InputError(
            f"the configuration's quantization has layers that the model does not have: {', '.join(sorted(missing))}"
        )


def dequantized_arrays(checkpoint: Checkpoint) -> dict[str, mx.array]:
    """Return the arrays of a checkpoint in floating point.

    Args:
        checkpoint: with or without quantized layers.

    Returns:
        The arrays by parameter name, in the shapes of the parameters of a model without quantized layers.

    Raises:
        InputError: if the checkpoint's quantization does not fit its arrays.
    """
    arrays, quantization = dict(checkpoint.arrays), checkpoint.config.get("quantization")
    if quantization is None:
        return arrays
    try:
        bits, group_size = int(quantization["bits"]), int(quantization["group_size"])
        for layer in quantization["layers"]:
            weight, scales, biases = (arrays.pop(f"{layer}.{name}") for name in ("weight", "scales", "biases"))
            arrays[f"{layer}.weight"] = mx.dequantize(weight, scales, biases, group_size=group_size, bits=bits)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the quantization of the configuration does not fit the weights: {error}") from error
    return arrays

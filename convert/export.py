"""The way back: from a folder in MLX's layout to one that Hugging Face transformers loads, without torch."""

from os import PathLike
from pathlib import Path

import mlx.core as mx

from lucid_mlx.convert.huggingface import PIXEL_DECODER, RESNET, SWIN, TRANSFORMER_DECODER
from lucid_mlx.convert.rules import invert, rename, to_torch_layout
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.utils.parameters import load_parameters, named_parameters
from lucid_mlx.weights.checkpoint import ensure_free, read_checkpoint, write_checkpoint

# The names that `save_pretrained` writes, not those that transformers 5 has in memory.
_RULES = invert([*SWIN, *RESNET, *PIXEL_DECODER, *TRANSFORMER_DECODER])


def export_huggingface(source: str | PathLike[str], destination: str | PathLike[str]) -> Path:
    """Write a converted or saved model as `Mask2FormerForUniversalSegmentation.from_pretrained` reads it.

    The numbers and their floating-point type stay as they are; labels, image configuration, source and license come
    along.

    Args:
        source: a folder in MLX's layout.
        destination: the folder to write; it must not exist, or be empty.

    Returns:
        The destination. It is complete, or nothing is left of it.

    Raises:
        InputError: if the source is no such folder, incomplete, damaged, quantized, or of a network that transformers
            does not build; or if the destination is taken or cannot be written.
    """
    ensure_free(Path(destination).expanduser())
    checkpoint = read_checkpoint(source)
    if "quantization" in checkpoint.config:
        raise InputError(f"{source} is quantized, which transformers cannot read: convert again without --quantize")
    config = Mask2FormerConfig.from_dict(checkpoint.config)
    described = config.to_huggingface()
    model = Mask2Former(config)
    load_parameters(model, checkpoint.arrays)
    # transformers loads all in one type: of a mixture the one that holds every number.
    dtype = mx.result_type(*checkpoint.arrays.values())
    return write_checkpoint(
        destination,
        {**described, "dtype": str(dtype).removeprefix("mlx.core.")},
        state_dict(model),
        checkpoint.metadata,
        {
            **(checkpoint.preprocessor or {**ImageConfig().to_dict(), "ignore_index": 255}),
            "image_processor_type": "Mask2FormerImageProcessor",
        },
        layout="pt",
    )


def state_dict(model: Mask2Former) -> dict[str, mx.array]:
    """Return what `save_pretrained` would write of the model: its parameters, and what goes with them there.

    Args:
        model: with a Swin, or a ResNet with the plain stem.

    Returns:
        Arrays by transformers' names in torch's layout, computed when they are used.

    Raises:
        InputError: if the model has parameters that transformers has no name for.
    """
    parameters = named_parameters(model)
    arrays, problems = rename(_RULES, to_torch_layout(_RULES, parameters))
    if problems:
        raise InputError(f"the model cannot be written for transformers: {'; '.join(problems)}")
    constants = {}  # what the rules drop, as it is before training
    for key, array in arrays.items():
        if key.endswith(".running_mean"):
            constants[key.replace("running_mean", "num_batches_tracked")] = mx.array(0, mx.int64)
        elif key.endswith(".hidden_states_norms.stage4.weight"):
            # The norm of a Swin's classifier, which never runs: as wide as the last map.
            norm = key.removesuffix("hidden_states_norms.stage4.weight") + "swin.layernorm"
            constants |= {f"{norm}.weight": mx.ones_like(array), f"{norm}.bias": mx.zeros_like(array)}
    class_weights = [1.0] * model.config.num_labels + [model.config.no_object_weight]
    constants["criterion.empty_weight"] = mx.array(class_weights, mx.result_type(*parameters.values()))
    return arrays | constants

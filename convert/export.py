"""Export a converted checkpoint to a folder that Hugging Face transformers loads, without torch."""

from os import PathLike
from pathlib import Path

import mlx.core as mx

from lucid_mlx.convert.huggingface import PIXEL_DECODER, RESNET, SWIN, TRANSFORMER_DECODER
from lucid_mlx.convert.rules import invert, rename, to_torch_layout
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.parameters import load_parameters, named_parameters
from lucid_mlx.weights.checkpoint import ensure_empty, read_checkpoint, write_checkpoint

# The keys that `save_pretrained` writes, not those of models in memory in transformers 5.
_RULES = invert([*SWIN, *RESNET, *PIXEL_DECODER, *TRANSFORMER_DECODER])


def export_huggingface(source: str | PathLike[str], destination: str | PathLike[str], *, force: bool = False) -> Path:
    """Write a converted checkpoint for `Mask2FormerForUniversalSegmentation.from_pretrained`.

    The values of the weights and their floating-point type do not change. Labels, image configuration, source and
    license are kept.

    Args:
        source: a folder in MLX's layout.
        destination: the folder to write, completely or not at all; it must not exist, or be empty, without `force`.
        force: replace a folder that was written like this.

    Returns:
        The destination.

    Raises:
        InputError: if the source is not such a folder, is incomplete, damaged or quantized, or has a network that
            transformers cannot build; or if the destination is not empty or cannot be written.
    """
    target = local_path(destination, "destination")
    ensure_empty(target, force)
    if target.exists() and target.resolve() == local_path(source).resolve():
        raise InputError(f"{target} is the source, and would be replaced while it is read; choose another destination")
    checkpoint = read_checkpoint(source)
    if "quantization" in checkpoint.config:
        raise InputError(f"{source} is quantized, which transformers cannot read: convert again without --quantize")
    config = Mask2FormerConfig.from_dict(checkpoint.config)
    huggingface_config = config.to_huggingface()
    model = Mask2Former(config)
    load_parameters(model, checkpoint.arrays)
    # transformers loads all weights in one type. It must hold the values of each.
    dtype = mx.result_type(*checkpoint.arrays.values())
    return write_checkpoint(
        destination,
        {**huggingface_config, "dtype": str(dtype).removeprefix("mlx.core.")},
        state_dict(model),
        checkpoint.metadata,
        {
            **(checkpoint.preprocessor or {**ImageConfig().to_dict(), "ignore_index": 255}),
            "image_processor_type": "Mask2FormerImageProcessor",
        },
        layout="pt",
        force=force,
    )


def state_dict(model: Mask2Former) -> dict[str, mx.array]:
    """Return the state dict that transformers' `save_pretrained` would write for the model.

    Args:
        model: with a Swin, or a ResNet with the plain stem.

    Returns:
        The arrays by transformers' keys, in the shapes of torch's layout (O, I, H, W); computed when they are used.

    Raises:
        InputError: if transformers has no key for a parameter.
    """
    parameters = named_parameters(model)
    arrays, problems = rename(_RULES, to_torch_layout(_RULES, parameters))
    if problems:
        raise InputError(f"the model cannot be written for transformers: {'; '.join(problems)}")
    constants = {}  # the values before training of what the rules drop
    for key, array in arrays.items():
        if key.endswith(".running_mean"):
            constants[key.replace("running_mean", "num_batches_tracked")] = mx.array(0, mx.int64)
        elif key.endswith(".hidden_states_norms.stage4.weight"):
            # The norm of a Swin classifier, which does not run: as wide as the last feature map.
            norm = key.removesuffix("hidden_states_norms.stage4.weight") + "swin.layernorm"
            constants |= {f"{norm}.weight": mx.ones_like(array), f"{norm}.bias": mx.zeros_like(array)}
    class_weights = [1.0] * model.config.num_labels + [model.config.no_object_weight]
    constants["criterion.empty_weight"] = mx.array(class_weights, mx.result_type(*parameters.values()))
    return arrays | constants

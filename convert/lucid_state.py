"""The state dict of a model under lucid's names, in torch's layout, and back."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.families import FAMILIES
from lucid_mlx.convert.lucid import RULES_2, RULES_3
from lucid_mlx.convert.rules import invert, rename, to_mlx_layout, to_torch_layout
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.backbones.swin import SwinConfig, relative_position_index, shift_mask
from lucid_mlx.models.vision.mask2former import Mask2Former
from lucid_mlx.models.vision.mask2former.arguments import as_array
from lucid_mlx.utils.parameters import load_parameters, named_parameters
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_choice, check_value

_BLOCK = "model.pixel_level_module.encoder.encoder.layers.{stage}.blocks.{block}."
_WITHOUT_IMAGE_SIZE = 224  # lucid's default side of the image that Swin's masks are made for

_INVERSE = {
    "lucid2": invert(RULES_2),
    # lucid 3 names one layer with an underscore; the rule for the other spelling is for files of transformers' names.
    "lucid3": invert([rule for rule in RULES_3 if "cross_attn.out_proj.{wb}" not in rule.source]),
}


def lucid_state_dict(model: Mask2Former, family: str = "lucid2") -> dict[str, mx.array]:
    """Return a model's parameters under lucid's keys.

    Args:
        model: in floating point.
        family: "lucid2" or "lucid3"; version 3 has Swin backbones alone.

    Returns:
        The arrays by lucid's keys, in torch's layout (O, I, H, W), with lucid 2's buffers; computed when they are used.

    Raises:
        InputError: if lucid has no key for a parameter, as for quantized layers.
    """
    check_choice("family", family, list(_INVERSE))
    rules = _INVERSE[family]
    arrays, problems = rename(rules, to_torch_layout(rules, named_parameters(model)))
    if problems:
        raise InputError(f"the model has no state dict of {family}: {'; '.join(problems)}")
    return arrays if family == "lucid3" else arrays | _buffers(model)


def _buffers(model: Mask2Former) -> dict[str, mx.array]:
    """Return what lucid 2 keeps beside the parameters: indices and masks of Swin, the weights of the classes."""
    weights = mx.array([1.0] * model.config.num_labels + [model.config.no_object_weight])
    buffers = {"criterion.empty_weight": weights}
    config = getattr(model.backbone, "config", None)
    if not isinstance(config, SwinConfig):
        return buffers
    backbone = model.config.backbone_config or {}
    side = backbone.get("image_size", _WITHOUT_IMAGE_SIZE) // config.patch_size
    window = config.window_size
    index = relative_position_index(window).astype(mx.int64).reshape(window**2, window**2)
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            name = _BLOCK.format(stage=stage, block=block)
            buffers[f"{name}attn.relative_pos_index"] = index
            if block % 2 and side > window:
                buffers[f"{name}attn_mask"] = shift_mask(side, side, window, window // 2)
        side = -(-side // 2)
    return buffers


def load_lucid_state_dict(
    model: Mask2Former, state: Mapping[str, Any], strict: bool = True, family: str = "lucid2"
) -> None:
    """Load arrays under lucid's keys into a model, all or none.

    Args:
        model: in floating point.
        state: arrays of MLX or NumPy by lucid's keys, in torch's layout, with or without buffers.
        strict: require every parameter and no other key.
        family: "lucid2" or "lucid3".

    Raises:
        InputError: if the state is no such mapping; or one error that lists all keys that are missing, unknown or of
            another shape.
    """
    check_choice("family", family, list(_INVERSE))
    check_value("strict", strict, bool)
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise InputError(f"a state dict is a mapping from names to arrays, got {shown(state)}")
    arrays = {key: as_array(f"{shown(key)} of the state dict", value) for key, value in state.items()}
    expected = {name: tuple(array.shape) for name, array in named_parameters(model).items()}
    renamed, problems = rename(FAMILIES[family].rules, FAMILIES[family].reorder(arrays))
    if not strict:
        problems = [problem for problem in problems if "unknown keys" not in problem]
        renamed = {name: array for name, array in renamed.items() if name in expected}
        expected = {name: shape for name, shape in expected.items() if name in renamed}
    load_parameters(model, to_mlx_layout(renamed, expected, problems), strict=strict)
    mx.eval(model.parameters())

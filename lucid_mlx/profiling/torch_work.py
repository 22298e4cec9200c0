"""The work of transformers' network on torch, counted by the measure of `gpu_work`."""

import math
from collections.abc import Iterable
from typing import Any

from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.mask2former.huggingface_config import to_huggingface
from lucid_mlx.profiling.gpu_rules import Launch
from lucid_mlx.utils.optional_dependency import require

_MAKES_NOTHING = ("view", "detach", "empty")


def torch_work(model: Mask2Former, height: int, width: int, batch: int = 1) -> tuple[list[Launch], int]:
    """Count a forward of transformers' network, operation by operation as torch runs it.

    Every operation that makes no view is a launch that reads the distinct elements of its tensors once and writes its
    result once. Nothing is computed.

    Args:
        model: whose configuration and floating-point type count.
        height: of the images, in pixels.
        width: of the same.
        batch: how many images.

    Returns:
        The launches, and torch's own count of the products' operations.

    Raises:
        InputError: if torch or transformers is missing.
    """
    require("torch", "parity")
    require("transformers", "parity")
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    found: list[Launch] = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            read, made = (
                [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)] for tree in ((args, kwargs), result)
            )
            is_view = any(x.alias_info is not None and not x.alias_info.is_write for x in func._schema.returns)
            name = str(func).split(".")[1]
            if made and not is_view and not any(word in str(func) for word in _MAKES_NOTHING):
                shape, dtype = tuple(made[0].shape), str(made[0].dtype).removeprefix("torch.")
                found.append(Launch(name, _distinct(read), _distinct(made), 0, "", shape, dtype))
            return result

    dtype = getattr(torch, str(model.dtype).removeprefix("mlx.core."))
    config = Mask2FormerConfig.from_dict(to_huggingface(model.config))
    kept = torch.get_default_dtype()
    with FakeTensorMode(), torch.no_grad():
        torch.set_default_dtype(dtype)  # fake parameters cannot be cast
        try:
            network = Mask2FormerForUniversalSegmentation(config).eval()
        finally:
            torch.set_default_dtype(kept)
        pixels = torch.zeros(batch, model.config.num_channels, height, width, dtype=dtype)
        with FlopCounterMode(display=False) as flops, Counting():
            network(pixel_values=pixels)
    return found, int(flops.get_total_flops())


def _distinct(tensors: Iterable[Any]) -> int:
    """Return the bytes of tensors' elements, each counted once however often it is broadcast."""
    return sum(
        x.element_size() * math.prod(n for n, step in zip(x.shape, x.stride(), strict=True) if step) for x in tensors
    )

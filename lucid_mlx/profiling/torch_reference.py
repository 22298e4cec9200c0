"""The reference beside the network: transformers on torch, with the same weights."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.convert.export import export_huggingface
from lucid_mlx.models import Mask2Former
from lucid_mlx.utils.files import temporary_folder
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights.checkpoint import write_checkpoint


def reference(model: Mask2Former, pixels: mx.array) -> Callable[[], None]:
    """Build transformers' network with the weights of ours, on the best device that torch has here.

    Args:
        model: with a Swin or ResNet backbone.
        pixels: (B, num_channels, H, W), what to run it on.

    Returns:
        A function that runs it, to the end, in the floating-point type of `model`.

    Raises:
        InputError: if torch or transformers is missing, or transformers does not build such a network.
    """
    require("torch", "parity")
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    dtype = getattr(torch, str(model.dtype).removeprefix("mlx.core."))
    network = build_reference(model).to(device, dtype)
    tensor = torch.from_numpy(np.array(pixels.astype(mx.float32))).to(device, dtype)

    def run() -> None:
        with torch.inference_mode():
            network(pixel_values=tensor).masks_queries_logits.sum().item()  # which waits for a GPU

    return run


def build_reference(model: Mask2Former) -> Any:
    """Build transformers' network with the weights of ours, through an export, in float32 on the CPU.

    Args:
        model: with a Swin or ResNet backbone.

    Returns:
        The network, in inference mode.

    Raises:
        InputError: if torch or transformers is missing, or transformers does not build such a network.
    """
    require("torch", "parity")
    require("transformers", "parity")
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        write_checkpoint(folder / "ours", model.config.to_dict(), named_parameters(model), {}, {})
        return load_reference(export_huggingface(folder / "ours", folder / "theirs"))


def load_reference(folder: Path) -> Any:
    """Load a Hugging Face folder with transformers, in float32 on the CPU, in inference mode."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    build = transformers.Mask2FormerForUniversalSegmentation.from_pretrained
    return build(folder, dtype=torch.float32, local_files_only=True).eval()

"""The reference: transformers' Mask2Former with random, perturbed weights, saved as its users save it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig, SwinConfig

PHOTO = Path(__file__).parents[2] / "examples" / "coffee.jpg"

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _swin(**kwargs: Any) -> SwinConfig:
    return SwinConfig(drop_path_rate=0.3, out_features=STAGES, **kwargs)


def _resnet(**kwargs: Any) -> ResNetConfig:
    return ResNetConfig(out_features=STAGES, **kwargs)


BACKBONES = {
    "resnet_18": lambda: _resnet(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2]),
    "resnet_34": lambda: _resnet(layer_type="basic", hidden_sizes=[64, 128, 256, 512], depths=[3, 4, 6, 3]),
    "resnet_50": lambda: _resnet(),
    "resnet_101": lambda: _resnet(depths=[3, 4, 23, 3]),
    "swin_tiny": lambda: _swin(),
    "swin_small": lambda: _swin(depths=[2, 2, 18, 2]),
    "swin_base": lambda: _swin(
        depths=[2, 2, 18, 2], embed_dim=128, num_heads=[4, 8, 16, 32], window_size=12, image_size=384
    ),
    "swin_large": lambda: _swin(
        depths=[2, 2, 18, 2], embed_dim=192, num_heads=[6, 12, 24, 48], window_size=12, image_size=384
    ),
}


def small_config(**kwargs: Any) -> Mask2FormerConfig:
    """A network with every part and few parameters, with a Swin backbone unless told otherwise."""
    backbone = kwargs.pop("backbone_config", None) or _swin(
        embed_dim=24, depths=[1, 2, 2, 1], num_heads=[1, 2, 3, 6], window_size=4, mlp_ratio=2.0
    )
    sizes: dict[str, Any] = {
        "backbone_config": backbone,
        "num_labels": 7,
        "feature_size": 64,
        "mask_feature_size": 32,
        "hidden_dim": 64,
        "encoder_layers": 2,
        "encoder_feedforward_dim": 96,
        "decoder_layers": 5,
        "dim_feedforward": 80,
        "num_attention_heads": 4,
        "num_queries": 12,
    }
    return Mask2FormerConfig(**{**sizes, **kwargs})


@torch.no_grad()
def perturb(model: torch.nn.Module, seed: int = 0) -> None:
    """Move every parameter and buffer off its initial value: zeros, ones and equal rows hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point() or "empty_weight" in name:
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif "relative_position_bias_table" in name:
            tensor.copy_(0.5 * noise)
        elif name.endswith("sampling_offsets.bias"):
            tensor.add_(0.3 * noise)
        elif tensor.ndim == 1:
            tensor.add_(0.1 * noise)  # biases, and the scales of norms
        elif "embed" in name and tensor.ndim == 2:
            tensor.add_(0.1 * noise)
        else:
            tensor.add_(noise * 0.5 * max(tensor.std().item(), 0.02))
        if "transformer_module.decoder.layers" in name and name.endswith(("out_proj.weight", "fc2.weight")):
            tensor.mul_(0.3)  # else nine layers of averaging make all queries nearly equal
        if name == "class_predictor.weight":
            tensor.mul_(10.0)


def build(config: Mask2FormerConfig, folder: Path, seed: int = 0) -> Mask2FormerForUniversalSegmentation:
    """Build, perturb and save a reference model; return it in inference mode."""
    torch.manual_seed(seed)
    model = Mask2FormerForUniversalSegmentation(config).eval()
    perturb(model, seed)
    model.save_pretrained(folder)
    return model


def photo_batch(height: int, width: int) -> np.ndarray:
    """The photo and its mirror image, normalized as for ImageNet, (2, 3, height, width) float32."""
    with Image.open(PHOTO) as image:
        resized = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    pixels = (resized / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.stack([pixels, pixels[:, ::-1]]).transpose(0, 3, 1, 2).astype(np.float32)

"""The count of operations, against torch's own count of what transformers runs."""

import pytest
import torch
from reference import BACKBONES
from torch.utils.flop_counter import FlopCounterMode
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from lucid_mlx.models import create_model
from lucid_mlx.profiling.flops import forward_flops


@pytest.mark.parametrize("name", ["swin_tiny", "resnet_50", "resnet_18"])
def test_operations_are_what_torch_counts(name):
    config = Mask2FormerConfig(backbone_config=BACKBONES[name](), num_labels=10)
    # Eager, because torch does not count its fused attention.
    network = Mask2FormerForUniversalSegmentation._from_config(config, attn_implementation="eager").eval()
    pixels = torch.zeros(1, 3, 256, 320)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as whole:
            network(pixels)
        with FlopCounterMode(display=False) as backbone:
            network.model.pixel_level_module.encoder(pixels)
    ours = forward_flops(create_model(f"mask2former_{name}", 10), 256, 320)
    assert ours["backbone"] == pytest.approx(backbone.get_total_flops(), rel=0.01)
    # Less on our side: the reference makes the masks of every query at full size for every layer.
    assert 0.85 < sum(ours.values()) / whole.get_total_flops() <= 1.01

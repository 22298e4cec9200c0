"""Fresh weights are drawn as the reference draws them."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten
from reference import BACKBONES
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

import lucid_mlx
from lucid_mlx.convert import convert


@pytest.mark.parametrize("backbone", ["swin_tiny", "resnet_18"])
def test_every_fresh_parameter_has_the_reference_s_mean_and_deviation(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    mx.random.seed(0)
    reference = Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(backbone_config=BACKBONES[backbone](), num_labels=150, enforce_input_projection=True)
    )
    reference.save_pretrained(tmp_path / "theirs")
    theirs = lucid_mlx.load(convert(tmp_path / "theirs", tmp_path / "ours"))
    ours = lucid_mlx.models.create_model(f"mask2former_{backbone}", num_labels=150, enforce_input_projection=True)
    wanted = dict(tree_flatten(theirs.parameters()))
    for name, array in tree_flatten(ours.parameters()):
        got, want = np.array(array), np.array(wanted[name])
        if want.std() == 0.0 or name.endswith("sampling_offsets.bias"):
            np.testing.assert_allclose(got, want, atol=1e-5, err_msg=name)
            continue
        # Six deviations of an estimate from n draws; the extremes tell a uniform from a normal distribution.
        spread = 6.0 / np.sqrt(got.size)
        assert abs(got.std() / want.std() - 1.0) < spread + 0.01, name
        assert abs(got.mean() - want.mean()) < 1.5 * spread * want.std(), name
        if got.size > 5000:
            ratio = np.abs(got).max() / got.std()
            assert (ratio < 2.0) == (np.abs(want).max() / want.std() < 2.0), name

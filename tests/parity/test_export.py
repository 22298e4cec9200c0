"""transformers loads what this package exports: the same keys, bits and logits."""

from pathlib import Path
from typing import Any

import helpers
import mlx.core as mx
import numpy as np
import pytest
import torch
from reference import STAGES, build, photo_batch, small_config
from ties import Ties
from transformers import AutoImageProcessor, Mask2FormerForUniversalSegmentation, ResNetConfig

import lucid_mlx
from lucid_mlx.convert import convert
from lucid_mlx.convert.export import export_huggingface
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint


def loaded(folder: Path) -> Mask2FormerForUniversalSegmentation:
    """Load a folder with transformers, without missing or unexpected keys."""
    model, report = Mask2FormerForUniversalSegmentation.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def logits(model: torch.nn.Module) -> list[torch.Tensor]:
    with torch.inference_mode():
        out = model(torch.from_numpy(photo_batch(96, 130)).to(model.dtype))
    return [out.class_queries_logits, out.masks_queries_logits]


def _resnet(**kwargs: Any) -> dict[str, Any]:
    sizes = {"embedding_size": 16, "hidden_sizes": [32, 48, 64, 80], "depths": [1, 2, 1, 1]}
    return {"backbone_config": ResNetConfig(**{**sizes, **kwargs}, out_features=STAGES)}


CASES = {
    "swin": ({}, torch.float32),
    "swin in float16": ({}, torch.float16),
    "swin, projected memories": ({"enforce_input_projection": True}, torch.float32),
    "swin, no finest map": ({"common_stride": 8}, torch.float32),
    "bottleneck resnet": (_resnet(), torch.float32),
    "bottleneck resnet, stride in the 1x1": (_resnet(downsample_in_bottleneck=True), torch.float32),
    "basic resnet in bfloat16": (_resnet(layer_type="basic", embedding_size=32), torch.bfloat16),
}


@pytest.mark.parametrize("name", CASES)
def test_a_round_trip_keeps_the_reference(name: str, tmp_path: Path) -> None:
    values, dtype = CASES[name]
    original = build(small_config(**values), tmp_path / "built").to(dtype)
    with torch.no_grad():
        # The only parameters that are not kept: no forward uses them.
        for key, value in original.state_dict().items():
            if key.endswith("encoder.swin.layernorm.weight"):
                value.fill_(1.0)
            elif key.endswith("encoder.swin.layernorm.bias"):
                value.fill_(0.0)
    original.save_pretrained(tmp_path / "theirs")
    back = loaded(export_huggingface(convert(tmp_path / "theirs", tmp_path / "ours"), tmp_path / "back"))

    wanted, got = original.state_dict(), back.state_dict()
    assert list(got) == list(wanted)
    for key, value in wanted.items():
        assert got[key].dtype == value.dtype, key
        assert torch.equal(got[key], value), key
    assert back.dtype == dtype
    assert all(map(torch.equal, logits(back), logits(original)))
    kept = loaded(tmp_path / "theirs").config.to_dict()
    assert {**back.config.to_dict(), "_name_or_path": kept["_name_or_path"]} == kept


@pytest.mark.parametrize("backbone", [helpers.SWIN, helpers.RESNET], ids=["swin", "resnet"])
def test_a_model_of_ours_gives_the_same_logits_in_transformers(backbone: dict, tmp_path: Path, ties: Ties) -> None:
    mx.random.seed(0)
    model = lucid_mlx.models.Mask2Former(helpers.small_config(backbone_config=backbone)).eval()
    model.config.id2label = {number: f"label {number}" for number in range(5)}
    folder = write_checkpoint(tmp_path / "ours", model.config.to_dict(), named_parameters(model), {}, {})
    reference = loaded(export_huggingface(folder, tmp_path / "theirs"))
    assert reference.config.id2label == model.config.id2label
    ours = model(mx.array(photo_batch(96, 130)))
    mx.eval(ours)
    for key, theirs in zip(("class_queries_logits", "masks_queries_logits"), logits(reference), strict=True):
        error = np.abs(np.array(ours[key]) - theirs.numpy()).max() / theirs.abs().max().item()
        assert error <= 1e-4, f"{key} is off by {error:.1e}"


def test_transformers_preprocesses_images_with_the_written_image_config(tmp_path: Path) -> None:
    model = helpers.small_model()
    folder = write_checkpoint(tmp_path / "ours", model.config.to_dict(), named_parameters(model), {}, {})
    processor = AutoImageProcessor.from_pretrained(export_huggingface(folder, tmp_path / "theirs"), backend="pil")
    assert type(processor).__name__.startswith("Mask2FormerImageProcessor")
    photo = lucid_mlx.preprocessing.read_image(helpers.PHOTO)
    wanted = lucid_mlx.preprocessing.preprocess(photo, lucid_mlx.ImageConfig()).pixels
    got = processor(photo, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(got.transpose(0, 2, 3, 1), np.array(wanted), atol=1e-5)

"""Every tensor that the network shows, against transformers on the same weights and photo."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import torch
from reference import BACKBONES, STAGES, build, perturb, photo_batch, small_config
from ties import Ties
from transformers import Mask2FormerConfig, ResNetConfig, SwinConfig

import lucid_mlx
from lucid_mlx.convert import convert
from lucid_mlx.models.vision.backbones import build_backbone

TOLERANCE = 1e-4  # of the largest magnitude of a tensor


def assert_close(name: str, ours: mx.array, theirs: torch.Tensor) -> None:
    got, wanted = np.array(ours), theirs.detach().numpy()
    assert got.shape == wanted.shape, name
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE, f"{name} is off by {error:.1e}"


def compare(
    reference: torch.nn.Module,
    model: lucid_mlx.models.Mask2Former,
    size: tuple[int, int],
    precision: torch.dtype = torch.float32,
) -> None:
    """Compare in the order of the data's path, so that the first failure is where an error starts."""
    pixels = photo_batch(*size)
    ours = model(mx.array(pixels), output_hidden_states=True, output_attentions=True)
    mx.eval(ours)
    with torch.inference_mode():
        theirs = reference.to(precision)(
            torch.from_numpy(pixels).to(precision),
            output_hidden_states=True,
            output_attentions=True,
            output_auxiliary_logits=True,
        )
    for key in (
        "encoder_hidden_states",
        "pixel_decoder_hidden_states",
        "pixel_decoder_last_hidden_state",
        "transformer_decoder_hidden_states",
        "attentions",
        "encoder_last_hidden_state",
        "transformer_decoder_last_hidden_state",
        "class_queries_logits",
        "masks_queries_logits",
    ):
        got, wanted = ours[key], theirs[key]
        if isinstance(got, tuple):
            assert len(got) == len(wanted), key
            for index, pair in enumerate(zip(got, wanted, strict=True)):
                assert_close(f"{key}[{index}]", *pair)
        else:
            assert_close(key, got, wanted)
    assert len(ours["auxiliary_logits"]) == len(theirs.auxiliary_logits)
    for index, (got, wanted) in enumerate(zip(ours["auxiliary_logits"], theirs.auxiliary_logits, strict=True)):
        for key in ("class_queries_logits", "masks_queries_logits"):
            assert_close(f"auxiliary_logits[{index}][{key}]", got[key], wanted[key])


Networks = tuple[torch.nn.Module, lucid_mlx.models.Mask2Former]


def converted(config: Mask2FormerConfig, folder: Path) -> Networks:
    reference = build(config, folder / "theirs")
    return reference, lucid_mlx.load(convert(folder / "theirs", folder / "ours"))


@pytest.fixture(scope="module", params=list(BACKBONES))
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder = tmp_path_factory.mktemp(request.param)
    config = Mask2FormerConfig(backbone_config=BACKBONES[request.param](), num_labels=150)
    reference = build(config, folder / "theirs")
    model = lucid_mlx.models.create_model(f"mask2former_{request.param}", num_labels=150)
    return reference, model.from_pretrained(convert(folder / "theirs", folder / "ours")).eval()


@pytest.mark.parametrize("size", [(256, 320), (211, 333), (64, 64)], ids=str)
def test_preset_equals_the_reference(preset: Networks, size: tuple[int, int], ties: Ties) -> None:
    compare(*preset, size)


VARIANTS = {
    "swin of another geometry": {
        "backbone_config": SwinConfig(
            patch_size=2,
            embed_dim=12,
            depths=[2, 1, 1, 2],
            num_heads=[2, 3, 4, 4],
            window_size=5,
            mlp_ratio=1.5,
            qkv_bias=False,
            out_features=STAGES,
        )
    },
    "pre_norm": {"pre_norm": True},
    "gelu": {"activation_function": "gelu"},
    "silu": {"activation_function": "silu"},
    "projected memories": {"enforce_input_projection": True},
    "narrow decoder": {"hidden_dim": 48},
    "no finest map": {"common_stride": 8},
    "no encoder": {"encoder_layers": 0},
    "queries as learned": {"decoder_layers": 1},
    "resnet with stride in the 1x1": {
        "backbone_config": ResNetConfig(
            embedding_size=16,
            hidden_sizes=[32, 48, 64, 80],
            depths=[1, 2, 1, 1],
            downsample_in_bottleneck=True,
            out_features=STAGES,
        )
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_equals_the_reference(name: str, tmp_path: Path, ties: Ties) -> None:
    compare(*converted(small_config(**VARIANTS[name]), tmp_path), (97, 130))


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (33, 31), (32, 32)], ids=str)
def test_extreme_sizes_equal_the_reference(size: tuple[int, int], tmp_path: Path, ties: Ties) -> None:
    # In float64: on a 1x1 map a group of the norm has two values, and where they nearly agree torch's own float32
    # is off by 1.1e-4 (ours by 1e-6 to 4e-5).
    compare(*converted(small_config(), tmp_path), size, torch.float64)


def test_predict_equals_the_reference_up_to_ties(tmp_path: Path, ties: Ties) -> None:
    reference, model = converted(small_config(), tmp_path)
    pixels = photo_batch(96, 128)
    ours = model.predict(mx.array(pixels), return_logits=True)
    with torch.inference_mode():
        theirs = reference(torch.from_numpy(pixels))
        classes = theirs.class_queries_logits.softmax(-1)[..., :-1]
        scores = torch.einsum("bqc,bqhw->bchw", classes, theirs.masks_queries_logits.sigmoid())
        scores = torch.nn.functional.interpolate(scores, size=(96, 128), mode="bilinear", align_corners=False)
    assert_close("logits", ours["logits"], scores)
    top = scores.topk(2, dim=1).values
    clear = ((top[:, 0] - top[:, 1]) > 1e-5).numpy()
    assert clear.mean() > 0.99
    assert (np.array(ours["segmentation"]) == scores.argmax(1).numpy())[clear].all()


def test_deep_stem_equals_three_convolutions_of_torch() -> None:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for inputs, outputs, stride in ((3, 8, 2), (8, 8, 1), (8, 16, 1)):
        convolution = torch.nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        layers += [convolution, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU()]
    stem = torch.nn.Sequential(*layers).eval()
    perturb(stem)
    sizes = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}
    backbone = build_backbone({"model_type": "resnet", "stem": "deep", **sizes})
    for index, ours in enumerate(backbone.stem):
        convolution, norm = stem[3 * index], stem[3 * index + 1]
        ours.conv.weight = mx.array(convolution.weight.detach().numpy().transpose(0, 2, 3, 1))
        for name in ("weight", "bias", "running_mean", "running_var"):
            ours.norm[name] = mx.array(getattr(norm, name).detach().numpy())
    pixels = photo_batch(50, 37)
    x = mx.array(pixels.transpose(0, 2, 3, 1))
    for ours in backbone.stem:
        x = mx.maximum(ours(x), 0)
    with torch.inference_mode():
        assert_close("stem", x.transpose(0, 3, 1, 2), stem(torch.from_numpy(pixels)))

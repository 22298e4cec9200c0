"""Image classifiers of every family, saved as it publishes them: our backbone gives the same feature maps."""

import re
from pathlib import Path
from typing import Any

import families
import mlx.core as mx
import numpy as np
import pytest
import torch
from reference import STAGES, perturb, photo_batch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    SwinBackbone,
    SwinConfig,
    SwinForImageClassification,
)

from lucid_mlx.convert.backbone import read_backbone
from lucid_mlx.models.vision.backbones import build_backbone
from lucid_mlx.utils.parameters import load_parameters

TOLERANCE = 1e-4  # of the largest magnitude of a map

SWIN = {"embed_dim": 16, "depths": [2, 1, 2, 2], "num_heads": [1, 2, 4, 4], "window_size": 4, "mlp_ratio": 2.0}
RESNETS = {
    "basic": {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [2, 2, 1, 1], "layer_type": "basic"},
    "bottleneck": {
        "embedding_size": 16,
        "hidden_sizes": [64, 96, 128, 160],
        "depths": [2, 2, 1, 1],
        "layer_type": "bottleneck",
    },
}


def assert_same_maps(path: Path, config: dict[str, Any] | None, pixels: np.ndarray, wanted: list[torch.Tensor]) -> None:
    """Compare the maps of our backbone, with the weights of a file, with a reference's NCHW maps."""
    read = read_backbone(path, config)
    backbone: Any = build_backbone(read.config)
    arrays = read.arrays
    load_parameters(backbone, {name.removeprefix("backbone."): array for name, array in arrays.items()}, strict=False)
    backbone.eval()
    maps = backbone(mx.array(pixels.transpose(0, 2, 3, 1)))
    for stage, (ours, theirs) in enumerate(zip(maps, wanted, strict=True)):
        got, right = np.array(ours).transpose(0, 3, 1, 2), theirs.detach().numpy()
        assert got.shape == right.shape
        error = np.abs(got - right).max() / np.abs(right).max()
        assert error <= TOLERANCE, f"stage {stage} is off by {error:.1e}"


def saved(state: families.State, path: Path) -> Path:
    """Write a state dict as its family publishes it."""
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save({"model": state} if path.suffix == ".pth" else state, path)
    return path


@pytest.fixture(scope="module")
def swin(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a Swin classifier, its state dict in memory, an image's pixels and its maps."""
    torch.manual_seed(0)
    config = SwinConfig(image_size=96, num_labels=7, out_features=STAGES, **SWIN)
    classifier = SwinForImageClassification(config).eval()
    perturb(classifier)
    folder = tmp_path_factory.mktemp("swin")
    classifier.save_pretrained(folder)
    # The norms after each stage keep their initial values, as in our backbone.
    backbone = SwinBackbone(config).eval()
    result = backbone.load_state_dict(
        {key: value for key, value in classifier.state_dict().items() if key.startswith("swin.")}, strict=False
    )
    assert not result.unexpected_keys
    assert all(key.startswith("hidden_states_norms.") for key in result.missing_keys)
    pixels = photo_batch(122, 150)
    with torch.inference_mode():
        maps = backbone(torch.from_numpy(pixels)).feature_maps
    return folder, dict(classifier.state_dict()), pixels, maps


def original_swin(folder: Path) -> families.State:
    """The keys of Swin's original release, which detectron2's backbone has too."""
    state = load_file(folder / "model.safetensors")
    in_mask2former = {
        re.sub(r"^swin\.", "model.pixel_level_module.encoder.", key): value for key, value in state.items()
    }
    renamed = {key.removeprefix("backbone."): value for key, value in families.detectron2(in_mask2former).items()}
    for theirs, ours in (("layernorm", "norm"), ("classifier", "head")):
        renamed = {re.sub(f"^{theirs}\\.", f"{ours}.", key): value for key, value in renamed.items()}
    return {**renamed, **{f"layers.{stage}.blocks.1.attn_mask": torch.zeros(4, 16, 16) for stage in (0, 2, 3)}}


def lucid2_swin(folder: Path, by_column: bool) -> families.State:
    """The original's keys, except for the index, which is that of the bias table's order."""
    state = original_swin(folder)
    for key in [key for key in state if key.endswith("relative_position_index")]:
        index, table_key = state.pop(key), key.replace("index", "bias_table")
        table = state[table_key]
        side = int(len(table) ** 0.5)
        if by_column:
            state[table_key] = table.reshape(side, side, -1).transpose(0, 1).reshape(table.shape)
            index = index % side * side + index // side
        state[key.replace("relative_position_index", "relative_pos_index")] = index.double()
    return state


def timm_swin(folder: Path) -> families.State:
    """Patch merging at the start of a stage, and no buffers."""
    state = {
        re.sub(r"^layers\.(\d)\.downsample", lambda match: f"layers.{int(match[1]) + 1}.downsample", key): value
        for key, value in original_swin(folder).items()
        if not key.endswith(("relative_position_index", "attn_mask"))
    }
    return {re.sub(r"^head\.", "head.fc.", key): value for key, value in state.items()}


def swin_model(folder: Path) -> families.State:
    """The keys of a SwinModel: without the classifier and its prefix."""
    state = load_file(folder / "model.safetensors")
    return {key.removeprefix("swin."): value for key, value in state.items() if key.startswith("swin.")}


SWIN_CASES = {
    "saved": lambda folder, memory, path: folder,
    "in memory": lambda folder, memory, path: saved(memory, path / "pytorch_model.bin"),
    "model": lambda folder, memory, path: saved(swin_model(folder), path / "model.safetensors"),
    "original": lambda folder, memory, path: saved(original_swin(folder), path / "swin.pth"),
    "lucid 2": lambda folder, memory, path: saved(lucid2_swin(folder, False), path / "swin.safetensors"),
    "lucid 2, by column": lambda folder, memory, path: saved(lucid2_swin(folder, True), path / "swin.safetensors"),
    "timm": lambda folder, memory, path: saved(timm_swin(folder), path / "swin.safetensors"),
}


@pytest.mark.parametrize("name", SWIN_CASES)
def test_a_swin_classifier_of_each_family_gives_the_reference_s_maps(name: str, swin: Any, tmp_path: Path) -> None:
    folder, memory, pixels, maps = swin
    path = SWIN_CASES[name](folder, memory, tmp_path)
    assert_same_maps(path, {"model_type": "swin", **SWIN}, pixels, maps)
    assert_same_maps(path, None, pixels, maps)


def test_a_swin_model_as_transformers_saves_it_gives_its_maps(swin: Any, tmp_path: Path) -> None:
    folder, _, pixels, maps = swin
    model = SwinForImageClassification.from_pretrained(folder)
    model.swin.save_pretrained(tmp_path)
    assert_same_maps(tmp_path, None, pixels, maps)


def test_the_norms_of_a_swin_backbone_are_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    reference = SwinBackbone(SwinConfig(image_size=96, out_features=STAGES, **SWIN)).eval()
    perturb(reference)
    reference.save_pretrained(tmp_path)
    pixels = photo_batch(122, 150)
    with torch.inference_mode():
        maps = reference(torch.from_numpy(pixels)).feature_maps
    assert_same_maps(tmp_path, None, pixels, maps)


class Unit(nn.Module):
    """A residual block with torchvision's keys: two convolutions of 3x3, or of 1x1, 3x3 and 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool):
        super().__init__()
        width = outputs // 4 if bottleneck else outputs
        # Inputs, outputs, kernel and stride of each convolution.
        sizes = [(inputs, width, 3, stride), (width, outputs, 3, 1)]
        if bottleneck:
            sizes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        self.count = len(sizes)
        for i, (n, m, kernel, step) in enumerate(sizes, 1):
            self.add_module(f"conv{i}", nn.Conv2d(n, m, kernel, step, padding=kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(m))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.count else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class TorchvisionResNet(nn.Module):
    """He et al.'s network with torchvision's keys, and its stride in the 3x3 convolution."""

    def __init__(self, embedding_size: int, hidden_sizes: list[int], depths: list[int], layer_type: str):
        super().__init__()
        self.conv1 = nn.Conv2d(3, embedding_size, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(embedding_size)
        inputs = embedding_size
        for stage, (outputs, depth) in enumerate(zip(hidden_sizes, depths, strict=True), 1):
            units = [Unit(inputs, outputs, 1 if stage == 1 else 2, layer_type == "bottleneck")]
            units += [Unit(outputs, outputs, 1, layer_type == "bottleneck") for _ in range(depth - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*units))
            inputs = outputs
        self.fc = nn.Linear(inputs, 7)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, padding=1)
        return [x := getattr(self, f"layer{stage}")(x) for stage in range(1, 5)]


def lucid2_resnet(state: families.State) -> families.State:
    """Another stem, in bottlenecks modules of a convolution and its norm, and no counters."""
    substitutions = [(r"^conv1", "stem.0"), (r"^bn1", "stem.1")]
    if "layer1.0.conv3.weight" in state:
        substitutions += [(r"\.conv3", ".conv3.0"), (r"\.bn3", ".conv3.1")]
        substitutions += [(r"\.conv([12])", r".conv\1.conv"), (r"\.bn([12])", r".conv\1.bn")]
    renamed = {}
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        for pattern, replacement in substitutions:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value.double() if "running" in key else value
    return renamed


RESNET_CASES = {
    "torchvision": lambda state, path: saved(state, path / "resnet.pth"),
    "timm": lambda state, path: saved(state, path / "model.safetensors"),
    "lucid 2": lambda state, path: saved(lucid2_resnet(state), path / "resnet.safetensors"),
}


@pytest.mark.parametrize("resnet", RESNETS)
@pytest.mark.parametrize("name", RESNET_CASES)
def test_a_resnet_classifier_of_each_family_gives_the_reference_s_maps(name: str, resnet: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = TorchvisionResNet(**RESNETS[resnet]).eval()
    perturb(reference)
    pixels = photo_batch(97, 130)
    with torch.inference_mode():
        maps = reference(torch.from_numpy(pixels))
    path = RESNET_CASES[name](reference.state_dict(), tmp_path)
    assert_same_maps(path, {"model_type": "resnet", **RESNETS[resnet]}, pixels, maps)


@pytest.mark.parametrize("resnet", RESNETS)
def test_hugging_face_s_resnet_classifier_gives_its_maps(resnet: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = ResNetForImageClassification(ResNetConfig(num_labels=7, **RESNETS[resnet])).eval()
    perturb(reference)
    reference.save_pretrained(tmp_path)
    pixels = photo_batch(97, 130)
    with torch.inference_mode():
        maps = reference(torch.from_numpy(pixels), output_hidden_states=True).hidden_states[1:]
    assert_same_maps(tmp_path, {"model_type": "resnet", **RESNETS[resnet]}, pixels, maps)
    reference.resnet.save_pretrained(tmp_path / "model")
    assert_same_maps(tmp_path / "model", None, pixels, maps)

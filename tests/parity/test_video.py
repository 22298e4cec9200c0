"""The network for videos: on a single frame it computes what the network for images does."""

import math
from collections.abc import Callable
from pathlib import Path

import families
import mlx.core as mx
import numpy as np
import pytest
import torch
from reference import build, photo_batch, small_config
from safetensors.torch import load_file, save_file
from ties import Ties
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

import lucid_mlx
from lucid_mlx.convert import convert

KEYS = ("class_queries_logits", "masks_queries_logits")

Reference = tuple[torch.nn.Module, Path]
Positions = Callable[[torch.Size], torch.Tensor]


def waves(position: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of a position in turn, (..., width)."""
    channel = torch.arange(width, dtype=position.dtype)
    angles = position[..., None] / 10000 ** (2 * (channel // 2) / width)
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())


def in_time_and_space(frames: int, height: int, width: int, channels: int) -> torch.Tensor:
    """The original project's positions of a video, (frames, channels, height, width).

    A position is counted from 1 and divided by the last one; those in time have all channels, those in space half of
    them each, y before x, and they are added.
    """
    t, y, x = (torch.arange(1, n + 1, dtype=torch.float64) / (n + 1e-6) * 2 * math.pi for n in (frames, height, width))
    shape = (frames, height, width, channels // 2)
    rows = waves(y, channels // 2)[None, :, None].expand(shape)
    columns = waves(x, channels // 2)[None, None].expand(shape)
    return (torch.cat([rows, columns], dim=-1) + waves(t, channels)[:, None, None]).permute(0, 3, 1, 2)


def of_a_frame(shape: torch.Size) -> torch.Tensor:
    _, channels, height, width = shape
    return in_time_and_space(1, height, width, channels)


def of_an_image(shape: torch.Size) -> torch.Tensor:
    embedder = Mask2FormerSinePositionEmbedding(shape[1] // 2, normalize=True)
    return embedder(shape, torch.device("cpu"), torch.float64)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    return build(small_config(), folder), folder


def logits(model: torch.nn.Module, positions: Positions | None = None) -> dict[str, torch.Tensor]:
    """Run in float64, so that no rounding flips an attention mask, with other positions in the decoder's keys."""
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        if positions is not None:
            embedder = model.model.transformer_module.position_embedder
            patch.setattr(embedder, "forward", lambda shape, *others: positions(shape))
        outputs = model.double()(torch.from_numpy(photo_batch(96, 130)).double())
    return {key: outputs[key] for key in KEYS}


def difference(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """The largest, of the largest magnitude."""
    return max(((some[key] - others[key]).abs().max() / others[key].abs().max()).item() for key in KEYS)


def test_positions_in_time_add_one_vector_to_a_frame() -> None:
    shape = torch.Size((1, 64, 7, 9))
    added = of_a_frame(shape) - of_an_image(shape)
    assert (added - added[:, :, :1, :1]).abs().max() < 1e-12
    assert added.abs().max() > 0.9


def test_a_frame_of_a_video_gives_the_logits_of_an_image(reference: Reference) -> None:
    model, _ = reference
    assert difference(logits(model, of_a_frame), logits(model)) < 1e-5


def test_any_vector_drops_out_but_different_ones_do_not(reference: Reference) -> None:
    model, _ = reference
    vector = 5 * torch.randn(64, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image = logits(model)
    assert difference(logits(model, of_an_image), image) == 0
    assert difference(logits(model, lambda shape: of_an_image(shape) + vector), image) < 1e-5
    uneven = logits(model, lambda shape: of_an_image(shape) + vector * torch.linspace(0, 1, shape[3]))
    assert difference(uneven, image) > 1e-2


NAMES = {
    "detectron2": lambda state: families.detectron2(state),
    "mmdet": lambda state: families.openmmlab(state, head="track_head."),
}


@pytest.mark.parametrize("family", NAMES)
def test_a_converted_video_checkpoint_gives_the_logits_of_a_frame(
    family: str, reference: Reference, tmp_path: Path, ties: Ties
) -> None:
    model, folder = reference
    state = NAMES[family](load_file(folder / "model.safetensors"))
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "video.safetensors")
    ours = lucid_mlx.load(convert(tmp_path / "video.safetensors", tmp_path / "ours"))(mx.array(photo_batch(96, 130)))
    got = {key: torch.from_numpy(np.array(ours[key])) for key in KEYS}
    assert difference(got, logits(model, of_a_frame)) < 1e-4

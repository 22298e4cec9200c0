"""The network for videos: whole clips; and on a single frame it computes what the network for images does."""

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


def sinusoids(position: torch.Tensor, width: int) -> torch.Tensor:
    """Alternating sines and cosines of a position, (..., width)."""
    channel = torch.arange(width, dtype=position.dtype)
    angles = position[..., None] / 10000 ** (2 * (channel // 2) / width)
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos())


def video_positions(frames: int, height: int, width: int, channels: int) -> torch.Tensor:
    """The original project's positions of a video, (frames, channels, height, width).

    Positions are counted from 1 and divided by the last one. The embedding of time has all channels, those of y and x
    have half of the channels each, y first; the two are added.
    """
    t, y, x = (torch.arange(1, n + 1, dtype=torch.float64) / (n + 1e-6) * 2 * math.pi for n in (frames, height, width))
    shape = (frames, height, width, channels // 2)
    rows = sinusoids(y, channels // 2)[None, :, None].expand(shape)
    columns = sinusoids(x, channels // 2)[None, None].expand(shape)
    return (torch.cat([rows, columns], dim=-1) + sinusoids(t, channels)[:, None, None]).permute(0, 3, 1, 2)


def frame_positions(shape: torch.Size) -> torch.Tensor:
    _, channels, height, width = shape
    return video_positions(1, height, width, channels)


def image_positions(shape: torch.Size) -> torch.Tensor:
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
            patch.setattr(embedder, "forward", lambda shape, *_: positions(shape))
        outputs = model.double()(torch.from_numpy(photo_batch(96, 130)).double())
    return {key: outputs[key] for key in KEYS}


def difference(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Return the largest difference relative to the largest magnitude."""
    return max(((got[key] - wanted[key]).abs().max() / wanted[key].abs().max()).item() for key in KEYS)


def test_positions_in_time_add_one_vector_to_a_frame() -> None:
    shape = torch.Size((1, 64, 7, 9))
    added = frame_positions(shape) - image_positions(shape)
    assert (added - added[:, :, :1, :1]).abs().max() < 1e-12
    assert added.abs().max() > 0.9


def test_a_frame_of_a_video_gives_the_logits_image_positions(reference: Reference) -> None:
    model, _ = reference
    assert difference(logits(model, frame_positions), logits(model)) < 1e-5


def test_a_constant_vector_cancels_but_a_varying_one_does_not(reference: Reference) -> None:
    model, _ = reference
    vector = 5 * torch.randn(64, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image = logits(model)
    assert difference(logits(model, image_positions), image) == 0
    assert difference(logits(model, lambda shape: image_positions(shape) + vector), image) < 1e-5
    varying = logits(model, lambda shape: image_positions(shape) + vector * torch.linspace(0, 1, shape[3]))
    assert difference(varying, image) > 1e-2


NAMES = {
    "detectron2": lambda state: families.detectron2(state),
    "mmdet": lambda state: families.openmmlab(state, head="track_head."),
}


@pytest.mark.parametrize("family", NAMES)
def test_a_converted_video_checkpoint_gives_the_logits_frame_positions(
    family: str, reference: Reference, tmp_path: Path, ties: Ties
) -> None:
    model, folder = reference
    state = NAMES[family](load_file(folder / "model.safetensors"))
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "video.safetensors")
    ours = lucid_mlx.load(convert(tmp_path / "video.safetensors", tmp_path / "ours"))(mx.array(photo_batch(96, 130)))
    got = {key: torch.from_numpy(np.array(ours[key])) for key in KEYS}
    assert difference(got, logits(model, frame_positions)) < 1e-4


def clip_logits(model: torch.nn.Module, frames: torch.Tensor) -> dict[str, torch.Tensor]:
    """The reference's logits of a clip, (T, 3, H, W), in float64.

    transformers has no network for clips, but its decoder takes maps of any height: the maps of the frames, one below
    the other, are a clip if the positions are a clip's. With sides that are multiples of 32 no mask is interpolated
    across the border of two frames.
    """
    count, tall = len(frames), lambda x: x.permute(1, 0, 2, 3).flatten(1, 2)[None]

    def positions(shape: torch.Size) -> torch.Tensor:
        _, channels, height, width = shape
        return tall(video_positions(count, height // count, width, channels))

    model.double()
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        features = model.model.pixel_level_module(frames.double(), output_hidden_states=True)
        module = model.model.transformer_module
        patch.setattr(module.position_embedder, "forward", lambda shape, *_: positions(shape))
        decoded = module([tall(x) for x in features.decoder_hidden_states], tall(features.decoder_last_hidden_state))
        masks = decoded.masks_queries_logits[-1].unflatten(2, (count, -1))
        classes = model.class_predictor(decoded.intermediate_hidden_states[-1].transpose(0, 1))
    return {"class_queries_logits": classes, "masks_queries_logits": masks}


def test_a_clip_gives_the_reference_s_logits(reference: Reference, ties: Ties) -> None:
    model, folder = reference
    frames = np.concatenate([photo_batch(96, 128), photo_batch(96, 128)[:, :, ::-1], photo_batch(96, 160)[..., 32:]])
    ours = lucid_mlx.load(folder).forward_clip(mx.array(frames)[None])
    mx.eval(ours)
    got = {key: torch.from_numpy(np.array(ours[key])) for key in KEYS}
    wanted = clip_logits(model, torch.from_numpy(frames.copy()))
    assert got["masks_queries_logits"].shape[2] == len(frames)
    assert difference(got, wanted) < 1e-4

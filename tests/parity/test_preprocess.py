"""Sizes and pixels of the network's input, against transformers' image processor and against detectron2's rules."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers import PHOTO
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

from lucid_mlx.preprocessing import ImageConfig, preprocess, published_image_config, read_image

# In units of 8-bit values before normalization: the rounding of float32.
TOLERANCE = 1e-4

CONFIGS: dict[str, dict[str, Any]] = {
    "hub": {"size": {"height": 384, "width": 384}},
    "shortest edge": {"size": {"shortest_edge": 200, "longest_edge": 333}},
    "any size": {"size": {"shortest_edge": 160, "longest_edge": 240}, "size_divisor": 0},
    "old keys": {"size": 128, "max_size": 200, "reduce_labels": True},
    "bicubic": {"size": {"height": 100, "width": 224}, "size_divisor": 16, "resample": 3, "image_mean": 0.5},
    "padded": {"size": {"shortest_edge": 64, "longest_edge": 96}, "pad_size": {"height": 128, "width": 160}},
    "not resized": {"do_resize": False, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.5, 0.7]},
    "not normalized": {"size": [64, 96], "do_rescale": False, "do_normalize": False},
}


def photos(count: int = 50) -> list[np.ndarray]:
    """Return random crops of the photo, resized to random sizes."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(read_image(PHOTO))
    crops = []
    for height, width in np.exp(rng.uniform(np.log(20), np.log(700), (count, 2))).astype(int):
        left, top = rng.uniform(0, 0.5, 2) * photo.size
        crop = photo.resize((int(width), int(height)), Image.Resampling.LANCZOS, (left, top, *photo.size))
        crops.append(np.asarray(crop))
    return crops


def error(ours: np.ndarray, theirs: np.ndarray, image_config: ImageConfig) -> float:
    """Return the largest difference in units of 8-bit values."""
    assert ours.shape == theirs.shape
    return float(np.abs((ours - theirs) * image_config.std / image_config.rescale_factor).max())


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 5000), width=st.integers(1, 5000), divisor=st.sampled_from([0, 32]))
def test_sizes_equal_the_image_processor_s(height: int, width: int, divisor: int) -> None:
    ours = ImageConfig.from_dict({"size": {"shortest_edge": 800, "longest_edge": 1333}, "size_divisor": divisor})
    wanted = get_size_with_aspect_ratio((height, width), 800, 1333)
    step = divisor or 1
    assert ours.content_size(height, width) == tuple(max(-(-side // step), 1) * step for side in wanted)


@pytest.mark.parametrize("name", CONFIGS)
def test_pixels_equal_the_image_processor_s(name: str) -> None:
    image_config = ImageConfig.from_dict(CONFIGS[name])
    # As when it reads a file. Its constructor has other defaults for old keys.
    processor = Mask2FormerImageProcessorPil.from_dict(dict(CONFIGS[name]))
    worst = 0.0
    for photo in photos():
        pixels, (content_size,) = preprocess(photo, image_config)
        theirs = processor(photo, return_tensors="np")
        worst = max(worst, error(np.array(pixels), theirs["pixel_values"].transpose(0, 2, 3, 1), image_config))
        mask = np.zeros(pixels.shape[1:3], np.int64)
        mask[: content_size[0], : content_size[1]] = 1
        assert np.array_equal(mask, theirs["pixel_mask"][0])
    print(f"{name}: {worst:.1e}")
    assert worst < TOLERANCE


def test_the_image_processor_reads_what_we_write() -> None:
    for raw in CONFIGS.values():
        image_config = ImageConfig.from_dict(raw)
        processor = Mask2FormerImageProcessorPil.from_dict(image_config.to_dict())
        for photo in photos(5):
            theirs = processor(photo, return_tensors="np")["pixel_values"].transpose(0, 2, 3, 1)
            assert error(np.array(preprocess(photo, image_config).pixels), theirs, image_config) < TOLERANCE


def detectron2_size(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Return the size that ResizeShortestEdge computes."""
    factor = shortest / min(height, width)
    new = [factor * height, factor * width]
    new[0 if height < width else 1] = shortest
    if max(new) > longest:
        factor = longest / max(new)
        new = [side * factor for side in new]
    return int(new[0] + 0.5), int(new[1] + 0.5)


def detectron2_input(image: np.ndarray, content_size: tuple[int, int], divisor: int) -> torch.Tensor:
    """Apply ResizeTransform, MaskFormer's normalization and ImageList to an image, as at test time."""
    resized = np.array(Image.fromarray(image).resize(content_size[::-1], Image.Resampling.BILINEAR))
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    pixels = (torch.from_numpy(resized) - mean) / std
    below, beside = (-side % divisor for side in content_size)
    return torch.nn.functional.pad(pixels, (0, 0, 0, beside, 0, below))[None]


@pytest.mark.parametrize(
    ("dataset", "sizes"),
    [("coco_panoptic", (800, 1333)), ("ade20k_semantic", (512, 2048)), ("mapillary_vistas_semantic", (2048, 2048))],
)
def test_pixels_of_published_image_configs_equal_detectron2_s(dataset: str, sizes: tuple[int, int]) -> None:
    image_config = published_image_config(dataset, "swin_tiny")
    assert image_config is not None
    worst = 0.0
    for photo in photos(50 if sizes[1] == 1333 else 8):
        pixels, (content_size,) = preprocess(photo, image_config)
        assert content_size == detectron2_size(*photo.shape[:2], *sizes)
        worst = max(worst, error(np.array(pixels), detectron2_input(photo, content_size, 32).numpy(), image_config))
    print(f"{dataset}: {worst:.1e}")
    assert worst < TOLERANCE


@settings(max_examples=500, deadline=None)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    sizes=st.sampled_from([(800, 1333), (2048, 2048), (512, 2048)]),
)
def test_sizes_of_published_image_configs_equal_detectron2_s(height: int, width: int, sizes: tuple[int, int]) -> None:
    ours = ImageConfig(size=None, shortest_edge=sizes[0], longest_edge=sizes[1], divisor_mode="pad")
    wanted = detectron2_size(height, width, *sizes)
    assume(min(wanted) > 0)  # Pillow refuses 0; ours is at least 1
    assert ours.content_size(height, width) == wanted
    assert ours.input_size(height, width) == tuple((side + 31) // 32 * 32 for side in wanted)

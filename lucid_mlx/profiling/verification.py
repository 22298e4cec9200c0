"""Run a source and its conversion on the same random image and compare."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx.convert.source import SourceCheckpoint
from lucid_mlx.errors import InputError
from lucid_mlx.loading import load
from lucid_mlx.models.vision.mask2former import Mask2Former
from lucid_mlx.models.vision.mask2former.model import semantic_scores

SIZE = (96, 128)
SEEDS = (0, 1, 2)  # one decision of masked attention on its edge can move a query; three images do not all have one


@dataclass(frozen=True)
class Verification:
    """What a comparison found.

    Attributes:
        error: the largest difference of a logit, relative to the largest logit; of the best of three images.
        changed: share of pixels whose class differs, of the same image.
    """

    error: float
    changed: float


def can_run(source: SourceCheckpoint) -> bool:
    """Return whether the system that wrote a source is at hand: transformers and torch, for its own folders."""
    import importlib.util

    installed = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    return installed and source.folder is not None and source.config is not None


def verify(source: SourceCheckpoint, converted: Path) -> Verification:
    """Compare transformers on a source with our network on its conversion.

    Args:
        source: a Hugging Face folder.
        converted: the folder that was written.

    Returns:
        The differences.

    Raises:
        InputError: if the source cannot be run here.
    """
    if not can_run(source):
        raise InputError(
            f"{source.name} cannot be run here, so there is nothing to verify against: that takes a Hugging Face "
            "folder and `pip install torch transformers`"
        )
    import torch
    from transformers import Mask2FormerForUniversalSegmentation

    reference = Mask2FormerForUniversalSegmentation.from_pretrained(source.folder, dtype=torch.float32).eval()
    model = load(converted)
    return min((_compare(reference, model, seed) for seed in SEEDS), key=lambda result: result.error)


def _compare(reference: Any, model: Mask2Former, seed: int) -> Verification:
    import torch

    pixels = np.random.default_rng(seed).standard_normal((1, 3, *SIZE)).astype(np.float32)
    with torch.no_grad():
        theirs = reference(torch.from_numpy(pixels))
    ours = model(mx.array(pixels))
    names = ("class_queries_logits", "masks_queries_logits")
    expected = [mx.array(getattr(theirs, name).numpy()) for name in names]
    got = [ours[name].astype(mx.float32) for name in names]
    errors = mx.stack([mx.abs(a - b).max() / mx.abs(b).max() for a, b in zip(got, expected, strict=True)])
    classes = [mx.argmax(semantic_scores(*logits), axis=1) for logits in (got, expected)]
    return Verification(float(errors.max()), float(mx.mean(classes[0] != classes[1])))

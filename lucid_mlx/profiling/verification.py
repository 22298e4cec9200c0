"""Run a source and its conversion on the same random image and compare."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np

from lucid_mlx.convert.families import FAMILIES, count_known
from lucid_mlx.convert.source import SourceCheckpoint, read_source
from lucid_mlx.errors import InputError
from lucid_mlx.loading import build_model, load
from lucid_mlx.models.vision.mask2former import Mask2Former
from lucid_mlx.models.vision.mask2former.semantic_scores import semantic_scores
from lucid_mlx.profiling.torch_reference import build_reference, load_reference
from lucid_mlx.weights.checkpoint import read_checkpoint
from lucid_mlx.weights.quantize import dequantized_arrays

SIZE = (96, 128)
SEEDS = (0, 1, 2)  # one decision of masked attention on its edge can move a query; three images do not all have one


@dataclass(frozen=True)
class Verification:
    """What a comparison found.

    Attributes:
        error: the largest difference of a logit, relative to the largest logit; of the best of three images.
        changed: share of pixels whose class differs, of the same image.
        compared: with what the result was compared.
    """

    error: float
    changed: float
    compared: str = ""


def verify(source: SourceCheckpoint, converted: Path) -> Verification:
    """Compare transformers with our network on a conversion.

    A folder that transformers wrote is run by transformers itself. Other sources' own systems are not at hand:
    transformers runs an export of the result, so that the networks are compared, not the names of the source's keys.

    Args:
        source: that was converted.
        converted: the folder that was written.

    Returns:
        The differences.

    Raises:
        InputError: if torch or transformers is not installed, or transformers does not build such a network.
    """
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"that takes {package}: pip install torch transformers")
    if source.folder is not None and _is_plain_huggingface(source):
        reference, compared = load_reference(source.folder), "the source, as transformers reads it"
    else:
        checkpoint = read_checkpoint(converted)
        config = {key: value for key, value in checkpoint.config.items() if key != "quantization"}
        exported = build_model(replace(checkpoint, config=config, arrays=dequantized_arrays(checkpoint)), mx.float32)
        reference = build_reference(exported)
        compared = (
            "the written weights, exported to transformers: this tests the network and its configuration, not that the "
            "keys of the source were renamed rightly, which the tests of each family do"
        )
    model = load(converted)
    results = [_compare(reference, model, seed) for seed in SEEDS]
    return replace(min(results, key=lambda result: result.error), compared=compared)


def _is_plain_huggingface(source: SourceCheckpoint) -> bool:
    """Return whether transformers finds all weights of a folder: it fills those that it does not find at random."""
    if source.config is None or source.files[0].name.startswith(("model", "pytorch_model")) is False:
        return False
    keys = list(read_source(cast(Path, source.folder)).arrays)
    labels = source.config.get("id2label")
    plain = isinstance(labels, dict) and set(labels) == set(map(str, range(len(labels))))
    return plain and count_known(FAMILIES["huggingface"], keys) == len(keys)


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

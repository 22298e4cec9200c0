"""What the device computes beside what it should: a small network on a photo, and each kernel beside its definition."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx import backends, ops
from lucid_mlx.backends.gpu import add_layer_norm, group_norm, max_pool, self_check
from lucid_mlx.backends.gpu.comparison import TOLERANCES
from lucid_mlx.compiled import LOGITS, Compiled
from lucid_mlx.loading import default_image_config, load, load_checkpoint
from lucid_mlx.postprocessing import semantic_segmentation
from lucid_mlx.preprocessing import read_image
from lucid_mlx.preprocessing.preprocess import preprocess
from lucid_mlx.weights.address import DEMO_FOLDER, DEMO_PHOTOS
from lucid_mlx.weights.quantize import quantize

EXPECTED = DEMO_FOLDER / "expected.npz"  # float32 logits and classes of the first photo, computed on a CPU
SIZE = (128, 128)  # at which the network sees it

# What may differ at most: the largest error of a logit, relative to the largest logit, and the share of the pixels
# whose class is another. A GPU may round the factors of float32 products to TF32.
LIMITS = {"float32": (1e-2, 0.005), "float16": (3e-2, 0.02), "8 bits": (1e-1, 0.05)}
CONVOLUTION_LIMIT = 2e-3  # of the direct way 4e-4 at most; of Winograd's F(6x6, 3x3) 7e-3


def check_network() -> dict[str, dict[str, float]]:
    """Run the network in the box on a photo, as users run it, in several types.

    Returns:
        For each type the `error` of the logits and the share of pixels `changed`.
    """
    expected = np.load(EXPECTED, allow_pickle=False)
    found = {}
    for name in LIMITS:
        logits, classes = _run(name)
        errors = [_error(logits[each], expected[each]) for each in LOGITS]
        found[name] = {"error": max(errors), "changed": float((classes != expected["classes"]).mean())}
    return found


def check_kernels() -> dict[str, str]:
    """Compare each kernel of a GPU with its definition.

    Returns:
        For each kernel and type "ok", or what is wrong; nothing on a CPU.
    """
    if backends.device_name() == "CPU":
        return {}
    attend = inspect.unwrap(ops.multi_scale_deformable_attention)
    affine, add = inspect.unwrap(ops.group_norm_affine), inspect.unwrap(ops.add_layer_norm)
    pool = inspect.unwrap(ops.max_pool)
    found: dict[str, str | None] = {}
    for dtype in TOLERANCES:
        kind = str(dtype).removeprefix("mlx.core.")
        case = self_check.Case(dtype, heads=8, dim=32, levels=3, points=4)
        found[f"deformable attention, {kind}"] = self_check.problem(case, attend)
        found[f"group normalization, {kind}"] = group_norm.CHECK.problem(dtype, affine)
        found[f"layer normalization, {kind}"] = add_layer_norm.CHECK.problem(dtype, add)
        found[f"pooling, {kind}"] = max_pool.CHECK.problem(dtype, pool)
    return {name: problem or "ok" for name, problem in found.items()}


def convolution_error() -> float:
    """Return the error of one 3x3 convolution in float16, as the network computes it: rms, relative to the rms."""
    channels = 256 if backends.device_name() == "GPU" else 32  # a CPU has no way that depends on the number
    rng = np.random.default_rng(0)
    x = mx.array(rng.standard_normal((1, 64, 64, channels)).astype(np.float32)).astype(mx.float16)
    kernel = rng.standard_normal((channels, 3, 3, channels)) / (3 * channels**0.5)
    weight = mx.array(kernel.astype(np.float32)).astype(mx.float16)
    got = np.array(ops.conv2d(x, weight, 1, 1).astype(mx.float32))
    with mx.stream(mx.cpu):
        wanted = np.array(mx.conv2d(x.astype(mx.float32), weight.astype(mx.float32), 1, 1))
    return float(np.sqrt(np.square(got - wanted).mean() / np.square(wanted).mean()))


def record(path: Path = EXPECTED) -> None:
    """Write what the network in the box should give; on a CPU, after it was trained anew."""
    logits, classes = _run("float32")
    np.savez_compressed(path, classes=classes, **logits)  # type: ignore[arg-type]


def _run(name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return logits, and the class of each pixel that the network sees."""
    model = load(DEMO_FOLDER, mx.float32 if name == "float32" else mx.float16)
    if name == "8 bits":
        quantize(model, 8, 64)
    image_config = replace(default_image_config(load_checkpoint(DEMO_FOLDER))[0], size=SIZE)
    pixels = preprocess(read_image(DEMO_PHOTOS[0]), image_config).pixels
    forward: Any = Compiled(model) if backends.compilation_is_fast() else model
    outputs = forward(pixels.transpose(0, 3, 1, 2))
    logits = {each: np.array(outputs[each].astype(mx.float32)) for each in LOGITS}
    (classes,) = semantic_segmentation(outputs, (pixels.shape[1], pixels.shape[2]))
    return logits, np.array(classes).astype(np.uint8)


def _error(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())

"""A quick check of the operations whose formula is short against NumPy, for `lucid-mlx doctor` and the tests."""

import math
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from lucid_mlx.ops.deformable_attention import Levels, multi_scale_deformable_attention
from lucid_mlx.ops.gelu import gelu
from lucid_mlx.ops.group_norm import group_norm
from lucid_mlx.ops.point_sample import point_sample
from lucid_mlx.ops.resize import resize_map, resize_planes
from lucid_mlx.ops.sigmoid import sigmoid
from lucid_mlx.ops.sine_positions import sine_positions
from lucid_mlx.ops.softmax import softmax
from lucid_mlx.ops.softplus import softplus_and_sigmoid


def self_test() -> dict[str, float]:
    """Run each operation on a small input on the default device.

    Returns:
        For each operation, its largest error relative to the largest magnitude.
    """
    checks: dict[str, Callable[[np.random.Generator], tuple[mx.array, np.ndarray]]] = {
        "deformable attention": _deformable_attention,
        "gelu": _gelu,
        "resize": _resize,
        "group norm": _group_norm,
        "point sample": _point_sample,
        "sine positions": _sine_positions,
        "sigmoid": _sigmoid,
        "softmax": _softmax,
        "softplus": _softplus,
    }
    return {name: _error(*check(np.random.default_rng(0))) for name, check in checks.items()}


def _error(ours: mx.array, wanted: np.ndarray) -> float:
    got = np.array(ours)
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return math.inf
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def deformable_attention_by_loops(
    value: np.ndarray, levels: Levels, locations: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Compute multi-scale deformable attention sample by sample; arguments as the op's, float64 inside."""
    batch, _, heads, dim = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    output = np.zeros((batch, queries, heads, dim))
    starts = np.cumsum([0] + [height * width for height, width in levels])
    for b, q, h, level, p in np.ndindex(batch, queries, heads, len(levels), points):
        height, width = levels[level]
        x = float(locations[b, q, h, level, p, 0]) * width - 0.5
        y = float(locations[b, q, h, level, p, 1]) * height - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column)) * weights[b, q, h, level, p]
                    output[b, q, h] += share * value[b, starts[level] + row * width + column, h]
    return output.reshape(batch, queries, heads * dim)


def _deformable_attention(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    levels = [(2, 3), (5, 4), (1, 1)]
    cells = sum(height * width for height, width in levels)
    value = rng.standard_normal((2, cells, 2, 8), np.float32)
    locations = rng.uniform(-0.3, 1.3, (2, 7, 2, 3, 4, 2)).astype(np.float32)
    weights = rng.random((2, 7, 2, 3, 4), np.float32)
    ours = multi_scale_deformable_attention(mx.array(value), levels, mx.array(locations), mx.array(weights))
    return ours, deformable_attention_by_loops(value, levels, locations, weights)


def _gelu(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    return gelu(mx.array(x)), np.array([value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()])


def point_sample_by_loops(planes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Sample planes point by point; arguments as the op's, float64 inside."""
    batch, channels, height, width = planes.shape
    output = np.zeros((batch, channels, points.shape[1]))
    for b, n in np.ndindex(batch, points.shape[1]):
        x, y = float(points[b, n, 0]) * width - 0.5, float(points[b, n, 1]) * height - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    output[b, :, n] += (1 - abs(y - row)) * (1 - abs(x - column)) * planes[b, :, row, column]
    return output


def _point_sample(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    planes = rng.standard_normal((2, 3, 5, 7), np.float32)
    points = rng.uniform(-0.2, 1.2, (2, 40, 2)).astype(np.float32)
    return point_sample(mx.array(planes), mx.array(points)), point_sample_by_loops(planes, points)


def _resize(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    x = rng.standard_normal((1, 5, 7, 3), np.float32)
    size = (13, 4)
    ours = mx.stack(
        [
            resize_map(mx.array(x), size),
            resize_planes(mx.array(x.transpose(0, 3, 1, 2)), size).transpose(0, 2, 3, 1),
        ]
    )
    ys, xs = (
        np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
        for n_in, n_out in zip(x.shape[1:3], size, strict=True)
    )
    # Linear interpolation of one axis after the other.
    rows = np.stack([_lerp(x, y, axis=1) for y in ys], axis=1)
    wanted = np.stack([_lerp(rows, column, axis=2) for column in xs], axis=2)
    return ours, np.stack([wanted, wanted])


def _lerp(x: np.ndarray, place: float, axis: int) -> np.ndarray:
    low = math.floor(place)
    high = min(low + 1, x.shape[axis] - 1)
    return x.take(low, axis) * (1 - (place - low)) + x.take(high, axis) * (place - low)


def _group_norm(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    x = rng.standard_normal((2, 3, 5, 8), np.float32)
    weight, bias = rng.standard_normal((2, 8), np.float32)
    groups = x.astype(np.float64).reshape(2, 15, 4, 2)
    mean, variance = groups.mean(axis=(1, 3), keepdims=True), groups.var(axis=(1, 3), keepdims=True)
    wanted = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * weight + bias
    return group_norm(mx.array(x), mx.array(weight), mx.array(bias), 4), wanted


def _sine_positions(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    height, width, channels = 3, 5, 8
    wanted = np.zeros((height, width, channels))
    for row, column, pair in np.ndindex(height, width, channels // 4):
        wavelength = 10000 ** (2 * pair / (channels // 2))
        for first, position, count in ((0, row, height), (channels // 2, column, width)):
            angle = (position + 1) / (count + 1e-6) * 2 * math.pi / wavelength
            wanted[row, column, first + 2 * pair : first + 2 * pair + 2] = math.sin(angle), math.cos(angle)
    return sine_positions(height, width, channels), wanted.reshape(height * width, channels)


def _sigmoid(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    x = np.linspace(-80, 80, 2001, dtype=np.float32)
    return sigmoid(mx.array(x)), np.array([1 / (1 + math.exp(-value)) for value in x.tolist()])


def _softmax(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    x = 10 * rng.standard_normal((5, 3, 96), np.float32)
    powers = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    return softmax(mx.array(x)), powers / powers.sum(axis=-1, keepdims=True)


def _softplus(rng: np.random.Generator) -> tuple[mx.array, np.ndarray]:
    x = np.linspace(-80, 80, 2001, dtype=np.float32)
    return softplus_and_sigmoid(mx.array(x))[0], np.logaddexp(0, x.astype(np.float64))

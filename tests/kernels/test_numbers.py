"""The kernels' texts, run on the CPU, against the plain operations: numbers, and no access out of bounds."""

import inspect

import mlx.core as mx
import numpy as np
import pytest

from lucid_mlx.backends.gpu.comparison import TOLERANCES
from lucid_mlx.backends.gpu.deformable_kernel import HEAD_DIMS, deformable_attention_kernel, kernels
from lucid_mlx.backends.gpu.self_check import Case, differences, example, problem
from lucid_mlx.ops import multi_scale_deformable_attention

definition = inspect.unwrap(multi_scale_deformable_attention)

MASK2FORMER = {"heads": 8, "dim": 32, "levels": 3, "points": 4}
ODD = [(5, 3), (9, 7), (2, 11)]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_the_kernel_passes_the_check_that_a_mac_makes(backend, dtype):
    assert problem(Case(dtype, **MASK2FORMER), definition) is None


@pytest.mark.parametrize("dim", HEAD_DIMS)
def test_every_head_dim(backend, dim):
    case = Case(mx.float32, heads=3, dim=dim, levels=2, points=3)
    assert max(differences(*example(case), definition).values()) < 1e-6


@pytest.mark.parametrize(
    ("levels", "queries", "heads", "points"),
    [(ODD, 67, 2, 4), ([(1, 1), (1, 7), (5, 1)], 9, 4, 2), ([(3, 4)], 1, 1, 1), ([(1, 1)], 1, 1, 1)],
    ids=["odd sizes and many queries", "single rows, columns and cells", "one sample", "one cell"],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_shapes(backend, levels, queries, heads, points, batch):
    arrays = random_arrays(levels, batch, queries, heads, points)
    assert max(differences(arrays, levels, definition).values()) < 2e-6


@pytest.mark.parametrize("places", [(-0.02, 0.0, 0.01, 0.99, 1.0, 1.02), (-1e4, -3.0, 0.5, 4.0, 1e4)], ids=str)
def test_samples_around_the_border_and_far_outside(backend, places):
    arrays = random_arrays(ODD, batch=2, queries=11, heads=2, points=4)
    rng = np.random.default_rng(1)
    locations = rng.choice(places, arrays[1].shape) + rng.uniform(-0.004, 0.004, arrays[1].shape)
    arrays[1] = mx.array(locations.astype(np.float32))
    assert max(differences(arrays, ODD, definition).values()) < 2e-6


@pytest.mark.parametrize("place", [-1e30, 1e30, -np.inf, np.inf])
def test_samples_infinitely_far_are_zero(backend, place):
    value, locations, weights, cotangent = random_arrays(ODD, batch=1, queries=3, heads=2, points=4)
    locations = mx.full(locations.shape, place)
    outputs, gradients = attend_and_differentiate(value, locations, weights, cotangent)
    assert [mx.abs(x).max().item() for x in (*outputs, *gradients)] == [0.0] * 4


@pytest.mark.parametrize("axis", [0, 1])
def test_a_nan_location_spoils_its_query_s_head_and_nothing_else(backend, axis):
    arrays = random_arrays(ODD, batch=2, queries=5, heads=2, points=4)
    (wanted,), (_, to_locations, to_weights) = attend_and_differentiate(*arrays)
    numbers = np.array(arrays[1])
    numbers[1, 3, 1, 2, 0, axis] = np.nan
    numbers[1, 3, 1, 2, 0, 1 - axis] = 7.0  # outside, which excuses nothing
    arrays[1] = mx.array(numbers)
    (out,), (nan_to_value, nan_to_locations, nan_to_weights) = attend_and_differentiate(*arrays)
    assert same_but(out.reshape(2, 5, 2, 8), wanted.reshape(2, 5, 2, 8), (1, 3, 1))
    assert same_but(nan_to_locations, to_locations, (1, 3, 1, 2, 0))
    assert same_but(nan_to_weights, to_weights, (1, 3, 1, 2, 0))
    assert not mx.isnan(nan_to_value).any().item()
    plain = definition(arrays[0], ODD, *arrays[1:3])
    assert (mx.isnan(plain) == mx.isnan(out)).all().item()


def test_other_dtypes_of_locations_and_weights_are_taken(backend):
    value, locations, weights, _ = random_arrays(ODD, batch=1, queries=4, heads=2, points=4)
    wanted = definition(value, ODD, locations, weights)
    halves = locations.astype(mx.float16), weights.astype(mx.float16)
    out = deformable_attention_kernel(value, ODD, *halves)
    assert out.dtype == mx.float32
    np.testing.assert_allclose(np.array(out), np.array(wanted), atol=0.05)
    gradient = mx.grad(lambda x: deformable_attention_kernel(value, ODD, x, halves[1]).sum())(halves[0])
    assert gradient.dtype == mx.float16


def test_the_kernels_are_built_once():
    assert kernels("metal") is kernels("metal")


def random_arrays(levels, batch, queries, heads, points, dim=8):
    rng = np.random.default_rng(5)
    cells = sum(height * width for height, width in levels)
    samples = (batch, queries, heads, len(levels), points)
    return [
        mx.array(x.astype(np.float32))
        for x in (
            rng.standard_normal((batch, cells, heads, dim)),
            rng.uniform(0.05, 0.95, (*samples, 2)),
            rng.random(samples),
            rng.standard_normal((batch, queries, heads * dim)),
        )
    ]


def attend_and_differentiate(value, locations, weights, cotangent):
    def attend(value, locations, weights):
        return deformable_attention_kernel(value, ODD, locations, weights)

    return mx.vjp(attend, [value, locations, weights], [cotangent])


def same_but(got, wanted, place):
    """Whether two arrays are equal, but for a place at which the first one is NaN."""
    got, wanted = np.array(got), np.array(wanted)
    spoilt = np.isnan(got[place]).all()
    got[place] = wanted[place]
    return spoilt and (got == wanted).all()

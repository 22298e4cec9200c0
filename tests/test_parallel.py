from contextlib import nullcontext

import mlx.core as mx
import pytest

from lucid_mlx.backends import evaluated_in_order, evaluation
from lucid_mlx.backends.cpu import convolution
from lucid_mlx.backends.cpu import parallel as parallel_module
from lucid_mlx.backends.cpu.parallel import in_next_stream, parallel
from lucid_mlx.ops import conv2d, evaluate


@pytest.fixture(params=[1, 2, 3, 8])
def streams(request, monkeypatch):
    """As on a machine with so many cores."""
    for module in (parallel_module, convolution, evaluation):
        monkeypatch.setattr(module, "STREAMS", request.param)
    monkeypatch.setattr(parallel_module, "_SMALL", 1)
    return request.param


@pytest.mark.parametrize("length", [1, 2, 7])
def test_chunks_on_any_number_of_cores_give_the_whole(streams, length):
    x, y = mx.random.normal((2, length, 3), key=mx.random.key(0)), mx.arange(length)[None, :, None]
    sizes = []

    def function(x, y):
        sizes.append(x.shape[1])
        return mx.exp(x) + y

    assert mx.array_equal(parallel(function, x, y, axis=1), mx.exp(x) + y).item()
    assert sum(sizes) == length
    assert len(sizes) == min(streams, length)


def test_inside_a_chunk_nothing_is_cut_again(streams):
    x, sizes = mx.random.normal((8, 8), key=mx.random.key(0)), []

    def inner(x):
        sizes.append(x.shape)
        return x + 1

    assert mx.array_equal(parallel(lambda x: parallel(inner, x, axis=1), x, axis=0), x + 1).item()
    if streams > 1:
        assert len(sizes) == streams
        assert all(columns == 8 for _, columns in sizes)


def test_an_error_in_a_chunk_leaves_the_next_call_cut(streams):
    def fail(x):
        raise ValueError("in a chunk")

    x, calls = mx.zeros((8, 2)), []
    with pytest.raises(ValueError, match="in a chunk"):
        parallel(fail, x, axis=0)
    parallel(lambda x: calls.append(1) or x, x, axis=0)
    assert len(calls) == streams


def test_a_convolution_and_its_gradient_are_the_same_on_any_number_of_cores(streams):
    keys = mx.random.split(mx.random.key(0))
    x, weight = mx.random.normal((3, 13, 11, 4), key=keys[0]), mx.random.normal((5, 3, 3, 4), key=keys[1])
    for stride in (1, 2):
        cotangent = mx.ones(mx.conv2d(x, weight, stride, 1).shape)
        (ours,), gradients = mx.vjp(lambda *a, s=stride: conv2d(*a, s, 1), [x, weight], [cotangent])
        (whole,), wanted = mx.vjp(lambda *a, s=stride: mx.conv2d(*a, s, 1), [x, weight], [cotangent])
        for one, other in zip((ours, *gradients), (whole, *wanted), strict=True):
            assert mx.allclose(one, other, atol=1e-4).item()


@pytest.mark.cpu("a GPU has one stream")
def test_independent_results_are_computed_one_in_each_stream_at_a_time(streams, monkeypatch):
    used, rounds, async_eval = [], [], mx.async_eval
    monkeypatch.setattr(mx, "async_eval", lambda arrays: rounds.append(len(arrays)) or async_eval(arrays))
    monkeypatch.setattr(parallel_module, "stream", lambda number: used.append(number % streams) or nullcontext())

    def square(x):
        return x * x, x + 1

    results = [in_next_stream(square, mx.arange(3) + number) for number in range(10)]
    evaluate(results)
    firsts = range(0, 10, streams)
    assert rounds == [min(streams, 10 - first) for first in firsts]
    assert all(len(set(used[first : first + streams])) == len(used[first : first + streams]) for first in firsts)
    assert [result[0].tolist()[0] for result in results] == [number**2 for number in range(10)]


def test_arrays_come_in_order_and_are_built_few_at_a_time(streams):
    built = []

    def arrays():
        for number in range(12):
            built.append(number)
            yield number, mx.arange(3) * number

    for count, (number, array) in enumerate(evaluated_in_order(arrays())):
        assert number == count
        assert array.tolist() == [0, number, 2 * number]
        assert len(built) <= count + streams + 2

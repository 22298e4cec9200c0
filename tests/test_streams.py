import mlx.core as mx
import pytest

from lucid_mlx.ops import conv2d, convolution, in_parts, streams


@pytest.fixture(params=[1, 2, 3, 8])
def queues(request, monkeypatch):
    """As on a machine with so many cores."""
    for module in (streams, convolution):
        monkeypatch.setattr(module, "QUEUES", request.param)
    monkeypatch.setattr(streams, "_SMALL", 1)
    return request.param


@pytest.mark.parametrize("length", [1, 2, 7])
def test_parts_on_any_number_of_cores_give_the_whole(queues, length):
    x, y = mx.random.normal((2, length, 3), key=mx.random.key(0)), mx.arange(length)[None, :, None]
    sizes = []

    def function(x, y):
        sizes.append(x.shape[1])
        return mx.exp(x) + y

    assert mx.array_equal(in_parts(function, x, y, axis=1), mx.exp(x) + y).item()
    assert sum(sizes) == length
    assert len(sizes) == min(queues, length)


def test_inside_a_part_nothing_is_cut_again(queues):
    x, sizes = mx.random.normal((8, 8), key=mx.random.key(0)), []

    def inner(x):
        sizes.append(x.shape)
        return x + 1

    assert mx.array_equal(in_parts(lambda x: in_parts(inner, x, axis=1), x, axis=0), x + 1).item()
    if queues > 1:
        assert len(sizes) == queues
        assert all(columns == 8 for _, columns in sizes)


def test_an_error_in_a_part_leaves_the_next_call_cut(queues):
    def fail(x):
        raise ValueError("in a part")

    x, calls = mx.zeros((8, 2)), []
    with pytest.raises(ValueError, match="in a part"):
        in_parts(fail, x, axis=0)
    in_parts(lambda x: calls.append(1) or x, x, axis=0)
    assert len(calls) == queues


def test_a_convolution_and_its_gradient_are_the_same_on_any_number_of_cores(queues):
    keys = mx.random.split(mx.random.key(0))
    x, weight = mx.random.normal((3, 13, 11, 4), key=keys[0]), mx.random.normal((5, 3, 3, 4), key=keys[1])
    for stride in (1, 2):
        cotangent = mx.ones(mx.conv2d(x, weight, stride, 1).shape)
        (ours,), gradients = mx.vjp(lambda *a, s=stride: conv2d(*a, s, 1), [x, weight], [cotangent])
        (whole,), wanted = mx.vjp(lambda *a, s=stride: mx.conv2d(*a, s, 1), [x, weight], [cotangent])
        for one, other in zip((ours, *gradients), (whole, *wanted), strict=True):
            assert mx.allclose(one, other, atol=1e-4).item()


def test_results_of_all_queues_are_computed(queues):
    results = []
    for number in range(5):
        with streams.queue(number):
            results.append((mx.arange(3) * number, [mx.array(number) + 1]))
    streams.start(results)
    assert [(array.tolist(), other.item()) for array, [other] in results] == [
        ([0, number, 2 * number], number + 1) for number in range(5)
    ]

"""The facts about MLX that `utils/deferred_array.py` relies on."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_mlx.utils.deferred_array import deferred, write


@pytest.mark.parametrize("dtype", [mx.float32, mx.int32], ids=str)
def test_a_graph_sees_what_was_written_after_it_was_built(dtype):
    array = deferred((3, 2), dtype)
    doubled, taken = array * 2, mx.arange(10)[array.astype(mx.int32)]
    write(array, mx.arange(6).reshape(3, 2).astype(dtype))
    assert np.array_equal(np.array(doubled), 2 * np.arange(6).reshape(3, 2))
    assert np.array_equal(np.array(taken), np.arange(6).reshape(3, 2))


def test_the_graph_of_a_gradient_sees_it_too():
    rows, scale = deferred((2,), mx.int32), deferred((2, 1), mx.float32)

    def loss(x):
        return (scale * mx.square(x[rows])).sum()

    value, gradient = mx.value_and_grad(loss)(mx.arange(8.0).reshape(4, 2))
    write(rows, mx.array([3, 1]))
    write(scale, mx.array([[1.0], [10.0]]))
    assert value.item() == 6**2 + 7**2 + 10 * (2**2 + 3**2)
    assert gradient.tolist() == [[0, 0], [40, 60], [0, 0], [12, 14]]


def test_no_array_has_no_memory_to_write_to():
    array = deferred((0, 4), mx.float32)
    write(array, mx.zeros((0, 4)))
    assert array.shape == (0, 4)

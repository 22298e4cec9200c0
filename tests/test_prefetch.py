import threading

import pytest

from lucid_mlx.preprocessing.preprocess import one_ahead, prefetch


def test_items_come_in_order_and_the_next_is_made_meanwhile():
    made, asked = [], threading.Event()

    def items():
        for number in range(3):
            made.append(number)
            if number == 1:
                asked.set()
            yield number

    following = prefetch(items())
    assert next(following) == 0
    assert asked.wait(5)
    assert made == [0, 1]
    assert list(following) == [1, 2]


def test_an_error_comes_after_what_was_made_before_it():
    def items():
        yield 1
        raise ValueError("the second")

    following = prefetch(items())
    assert next(following) == 1
    with pytest.raises(ValueError, match="the second"):
        next(following)


def test_nothing_gives_nothing():
    assert list(prefetch([])) == []


def test_who_stops_early_leaves_no_thread():
    following = prefetch(range(1000))
    next(following)
    following.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lucid-mlx-prefetch")]


class TestOneAhead:
    def test_an_item_comes_after_the_next_was_made(self):
        made = []

        def items():
            for number in range(3):
                made.append(number)
                yield number

        following = one_ahead(items(), drop=made.remove)
        assert [(item, list(made)) for item in following] == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2])]

    def test_an_error_comes_after_the_items_before_it(self):
        def items():
            yield 1
            yield 2
            raise ValueError("the third")

        following = one_ahead(items(), drop=lambda _: None)
        assert [next(following), next(following)] == [1, 2]
        with pytest.raises(ValueError, match="the third"):
            next(following)

    def test_what_was_made_and_is_not_wanted_is_dropped(self):
        dropped = []
        following = one_ahead(range(5), dropped.append)
        assert next(following) == 0
        following.close()
        assert dropped == [1]
